package ctl

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/executor"
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
	spec, build, err := a.checkJob(path)
	if err != nil {
		return err
	}
	v := newJobView(spec, build)
	return a.show(data{value: v, rows: v.rows(), names: []string{v.Name}})
}

// checkJob is loadJob, and for programs the problems are data.
func (a *app) checkJob(path string) (*manifest.Spec, *manifest.Build, error) {
	spec, build, err := a.loadJob(path)
	if problems := manifest.Problems(nil); errors.As(err, &problems) && (a.format == formatJSON || a.format == formatYAML) {
		err = errors.Join(err, a.show(data{value: invalidView(problems)}))
	}
	return spec, build, err
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

// checkProgram is the check of a job's programs that needs no executor process.
func checkProgram(_ string, wasm []byte) error { return executor.Inspect(wasm) }

// loadJob checks a job.yaml and hashes its files. The manifest is not to be signed: nobody submits it.
func (a *app) loadJob(path string) (spec *manifest.Spec, build *manifest.Build, err error) {
	if path == stdinPath {
		spec, err = manifest.Read(a.stdin, "<stdin>", ".", checkProgram)
	} else {
		spec, err = manifest.Load(path, checkProgram)
	}
	if err != nil {
		return nil, nil, err
	}
	nobody := jobs.KeyID(jobs.DigestOf(nil))
	build, err = spec.Build(nobody, time.Now())
	return spec, build, err
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
	MemoryBytes    uint64       `json:"memory_bytes"`
	TimeoutSeconds float64      `json:"timeout_seconds"`
	Retries        uint32       `json:"retries"`
	SuccessCodes   []uint32     `json:"success_codes"`
	KeepSeconds    float64      `json:"keep_seconds"`
	Combine        *programView `json:"combine"`

	timeout, keep time.Duration
}

type programView struct {
	File   string   `json:"file"`
	Bytes  int64    `json:"bytes"`
	Digest string   `json:"digest"`
	Args   []string `json:"args"`
}

func newJobView(spec *manifest.Spec, build *manifest.Build) *jobView {
	m := build.Manifest
	v := &jobView{
		Valid: true, Name: m.Name, Units: m.Units, Bundle: m.Bundle,
		Program:     newProgramView(spec.Program, m.Program, m.Args),
		MemoryBytes: m.Memory, TimeoutSeconds: m.Timeout.Seconds(), Retries: m.Retries,
		SuccessCodes: m.SuccessCodes, KeepSeconds: spec.Keep.Seconds(),
		timeout: m.Timeout, keep: spec.Keep,
	}
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
		{"keep", keepText(v.keep)},
		{"combine", combine},
	}
}

// keepText writes whole days as job.yaml does.
func keepText(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}
