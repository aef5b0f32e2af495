package ctl

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/executor"
	"idlegrid/coordinator/internal/terms"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

func newValidateCommand(a *app) *cobra.Command {
	var job string
	cmd := &cobra.Command{
		Use:     "validate job.yaml",
		Short:   "Check a job.yaml, its files and its program",
		Long:    "validate tells all that is wrong with a job.yaml at once, each with its place, or what the job is.",
		Example: "  gridctl validate tour/job.yaml\n  generate-job | gridctl validate -f -",
		RunE:    func(*cobra.Command, []string) error { return a.validate(job) },
	}
	fileFlag(cmd, &job)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) validate(path string) error {
	job, err := a.checkJob(path)
	if err != nil {
		return err
	}
	v := newJobView(job)
	return a.show(data{value: v, rows: v.rows(), names: []string{v.Name}})
}

// checkJob is loadJob, and for programs the problems are data.
func (a *app) checkJob(path string) (*loadedJob, error) {
	job, err := a.loadJob(path)
	if problems := manifest.Problems(nil); errors.As(err, &problems) && (a.format == formatJSON || a.format == formatYAML) {
		err = errors.Join(err, a.show(data{value: invalidView(problems)}))
	}
	return job, err
}

// stdinPath is the job.yaml that comes on standard input.
const stdinPath = "-"

// fileFlag lets the job.yaml of a verb be its argument, or what -f names.
func fileFlag(cmd *cobra.Command, path *string) {
	const name = "file"
	cmd.Flags().StringVarP(path, name, "f", "", "`FILE` in place of the argument; - is standard input, with paths relative to the current folder")
	mustComplete(cmd.MarkFlagFilename(name, "yaml", "yml"))
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		given := cmd.Flags().Changed(name)
		switch {
		case given && len(args) > 0:
			return jobs.Errorf(jobs.Invalid, "%s: one job.yaml, by -f or as argument, not both", cmd.CommandPath())
		case given && *path != "":
			return nil
		}
		if err := exactly("job.yaml")(cmd, args); err != nil {
			return err
		}
		*path = args[0]
		return nil
	}
}

// fileArgument returns how a command line names the job.yaml.
func fileArgument(path string) string {
	if path == stdinPath {
		return "-f -"
	}
	return path
}

// loadedJob is a job.yaml that was checked. The manifest is not to be signed: nobody submits it.
type loadedJob struct {
	spec    *manifest.Spec
	build   *manifest.Build
	support map[string]executor.Support // of each program
}

// checkProgram is the check of a job's programs that needs no executor process.
func (j *loadedJob) checkProgram(name string, wasm []byte) (err error) {
	j.support[name], err = executor.Inspect(wasm)
	return err
}

// loadJob checks a job.yaml and hashes its files.
func (a *app) loadJob(path string) (*loadedJob, error) {
	job := &loadedJob{support: make(map[string]executor.Support)}
	var err error
	if path == stdinPath {
		job.spec, err = manifest.Read(a.stdin, "<stdin>", ".", job.checkProgram)
	} else {
		job.spec, err = manifest.Load(path, job.checkProgram)
	}
	if err != nil {
		return nil, err
	}
	nobody := jobs.KeyID(jobs.DigestOf(nil))
	if job.build, err = job.spec.Build(nobody, time.Now()); err != nil {
		return nil, err
	}
	return job, nil
}

// problemView is a manifest.Problem as -o json has it.
type problemView struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Field   string `json:"field"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

func invalidView(problems manifest.Problems) any {
	views := make([]problemView, len(problems))
	for i, p := range problems {
		views[i] = problemView(p)
	}
	return struct {
		Valid    bool          `json:"valid"`
		Problems []problemView `json:"problems"`
	}{false, views}
}

// jobView is what validate shows of a job.
type jobView struct {
	Valid   bool        `json:"valid"`
	Name    string      `json:"name"`
	Units   uint64      `json:"units"`
	Bundle  uint32      `json:"bundle"`
	Program programView `json:"program"`
	Inputs  struct {
		Count int   `json:"count"`
		Bytes int64 `json:"bytes"`
	} `json:"inputs"`
	MemoryBytes    uint64   `json:"memory_bytes"`
	TimeoutSeconds float64  `json:"timeout_seconds"`
	Retries        uint32   `json:"retries"`
	SuccessCodes   []uint32 `json:"success_codes"`
	KeepSeconds    float64  `json:"keep_seconds"`
	// Checkpoints are those of the program; what it combines is not checkpointed.
	Checkpoints struct {
		EverySeconds float64      `json:"every_seconds"` // 0: none is made
		Way          executor.Way `json:"way"`
		Advice       string       `json:"advice"`
	} `json:"checkpoints"`
	Combine *programView `json:"combine"`

	timeout, keep, checkpoint time.Duration
}

type programView struct {
	File   string   `json:"file"`
	Bytes  int64    `json:"bytes"`
	Digest string   `json:"digest"`
	Args   []string `json:"args"`
}

func newJobView(job *loadedJob) *jobView {
	spec, build := job.spec, job.build
	m := build.Manifest
	v := &jobView{
		Valid: true, Name: m.Name, Units: m.Units, Bundle: m.Bundle,
		Program:     newProgramView(spec.Program, m.Program, m.Args),
		MemoryBytes: m.Memory, TimeoutSeconds: m.Timeout.Seconds(), Retries: m.Retries,
		SuccessCodes: m.SuccessCodes, KeepSeconds: spec.Keep.Seconds(),
		timeout: m.Timeout, keep: spec.Keep, checkpoint: m.CheckpointEvery(),
	}
	support := job.support[spec.Program]
	v.Checkpoints.EverySeconds, v.Checkpoints.Way, v.Checkpoints.Advice = v.checkpoint.Seconds(), support.Way, support.Advice
	v.Inputs.Count = len(build.Inputs)
	for _, in := range build.Inputs {
		v.Inputs.Bytes += in.Blob.Size
	}
	if m.Combine != nil {
		c := newProgramView(spec.CombineProgram, m.Combine.Program, m.Combine.Args)
		v.Combine = &c
	}
	return v
}

func newProgramView(file string, b jobs.Blob, args []string) programView {
	return programView{File: file, Bytes: b.Size, Digest: b.Digest.String(), Args: append([]string{}, args...)}
}

func (p programView) String() string {
	text := fmt.Sprintf("%s, %s, %s", p.File, bytesText(p.Bytes), p.Digest)
	if len(p.Args) > 0 {
		text += ", args " + strings.Join(p.Args, " ")
	}
	return text
}

func (v *jobView) rows() [][]string {
	combine := "none"
	if v.Combine != nil {
		combine = v.Combine.String()
	}
	return [][]string{
		{"name", v.Name},
		{"units", strconv.FormatUint(v.Units, 10)},
		{"bundle", strconv.FormatUint(uint64(v.Bundle), 10)},
		{"program", v.Program.String()},
		{"inputs", fmt.Sprintf("%s, %s", count(v.Inputs.Count, "file"), bytesText(v.Inputs.Bytes))},
		{"memory", bytesText(v.MemoryBytes) + " a unit"},
		{"timeout", v.timeout.String() + " a unit"},
		{"retries", strconv.FormatUint(uint64(v.Retries), 10)},
		{"keep", terms.Keep(v.keep)},
		{"checkpoints", v.checkpoints()},
		{"combine", combine},
	}
}

// checkpoints says in words how the program's checkpoints are made.
func (v *jobView) checkpoints() string {
	if v.checkpoint == 0 {
		return terms.Checkpoint(0)
	}
	text := "the files that it keeps in /checkpoint"
	switch v.Checkpoints.Way {
	case executor.WayStep:
		text = "its memory, between calls of grid_step"
	case executor.WayCall:
		text = "its memory, at calls of grid.checkpoint"
	case executor.WayFiles:
	}
	if v.Checkpoints.Advice != "" {
		text += "; " + v.Checkpoints.Advice
	}
	return terms.Checkpoint(v.checkpoint) + ", " + text
}
