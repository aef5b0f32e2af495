package manifest

import (
	"io"
	"os"
	"path/filepath"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/yamlfile"
)

// maxFile bounds a job.yaml, in bytes.
const maxFile = 1 << 20

// ProgramCheck says whether a program can run: its error names what is wrong with the module, such as an
// import that nobody provides, and may have a hint. name is for messages.
type ProgramCheck func(name string, wasm []byte) error

// Spec is a checked job.yaml: its fields are in bounds, its files were there and its programs can run.
type Spec struct {
	// Job is what job.yaml says. Its blobs, submitter and times are still zero: Build sets them.
	Job Manifest
	// Keep is how long the job lives from the moment it is built.
	Keep time.Duration

	// Dir is the folder of job.yaml. The paths below are relative to it, with slashes.
	Dir            string
	Program        string
	Stdin          string   // "": none
	Inputs         []string // sorted
	CombineProgram string   // "": nothing to combine

	// checked has the digest of each program that passed the check.
	checked map[string]jobs.Digest
}

// Load reads and checks a job.yaml and everything that it names. Its error is of type Problems and tells
// all that is wrong at once. Load reads nothing outside the file's folder. A nil check accepts any program.
func Load(path string, check ProgramCheck) (*Spec, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, Problems{{File: path, Message: lastCause(err), Hint: jobs.HintOf(err)}}
	}
	defer f.Close() // Nothing is written.
	return Read(f, path, filepath.Dir(path), check)
}

// Read is Load of a job.yaml that lies in no folder, such as standard input. Problems call it name, and its
// paths are relative to dir.
func Read(from io.Reader, name, dir string, check ProgramCheck) (*Spec, error) {
	r := &yamlfile.Reader{File: name}
	text, err := readText(from)
	if err != nil {
		r.Add(&Problem{Message: lastCause(err), Hint: jobs.HintOf(err)})
		return nil, r.Problems
	}
	body, problem := yamlfile.Parse(text, "a job.yaml")
	if problem == nil && body == nil {
		problem = &Problem{Message: "is empty, expected a job", Hint: "a job has at least a name, a program and units"}
	}
	if problem != nil {
		r.Add(problem)
		return nil, r.Problems
	}
	d, err := openFolder(dir)
	if err != nil {
		r.Add(&Problem{Message: err.Error()})
		return nil, r.Problems
	}
	defer d.close()
	l := loader{Reader: r, dir: d, check: check, spec: &Spec{Dir: d.dir, checked: make(map[string]jobs.Digest)}}
	l.job(yamlfile.Field{Node: body})
	if len(r.Problems) > 0 {
		return nil, r.Problems.Sorted()
	}
	return l.spec, nil
}

// readText reads a job.yaml of bounded size.
func readText(from io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fault("has more than 1 MiB", "put what is large into an input file")
	}
	return text, nil
}

// loader fills in a Spec, field by field.
type loader struct {
	*yamlfile.Reader
	dir   *folder
	check ProgramCheck
	spec  *Spec
	top   yamlfile.Field // the whole document, where what is missing is reported
}

func (l *loader) job(top yamlfile.Field) {
	l.top = top
	known := []string{
		"name", "program", "args", "env", "stdin", "inputs", "units", "memory", "timeout", "retries",
		"checkpoint", "success_codes", "bundle", "keep", "combine",
	}
	f, ok := l.Fields(top, known)
	if !ok {
		return
	}
	j := &l.spec.Job
	j.Runtime, j.Quorum, j.MinVersion = RuntimeWasm, 1, Version
	j.Name = l.name(f["name"])
	l.spec.Program = l.program(f["program"])
	j.Args = l.args(f["args"])
	j.Env = l.env(f["env"])
	l.spec.Stdin = l.stdin(f["stdin"])
	l.spec.Inputs = l.inputs(f["inputs"])
	j.Units = l.units(f["units"])
	j.Bundle = l.bundle(f["bundle"], j.Units)
	j.Memory = l.memory(f["memory"])
	j.Timeout = l.timeout(f["timeout"])
	j.Checkpoint = l.checkpoint(f["checkpoint"])
	j.Retries = uint32(l.optionalNumber(f["retries"], 2, 0, MaxRetries))
	j.SuccessCodes = l.successCodes(f["success_codes"])
	l.spec.Keep = l.keep(f["keep"])
	l.combine(f["combine"])
	l.size(f)
}

// missing reports a required field that is not there.
func (l *loader) missing(name, hint string) {
	p := yamlfile.At(l.top.Node, "missing")
	p.Field, p.Hint = name, hint
	l.Add(p)
}
