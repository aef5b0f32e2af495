package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
)

const (
	// maxShards bounds the shards that describe shows one by one.
	maxShards = 64
	// inputsTimeout bounds the search for the list of inputs, which after a job's end nobody may have.
	inputsTimeout = 10 * time.Second
)

func newDescribeCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "describe JOB",
		Short: "Show all that is known of a job",
		Long: "describe shows what a job runs, in the words of job.yaml, how far it is, which agents keep its records and\n" +
			"which of them answer, who works on it now, and why units failed.",
		Example: "  gridctl describe tour\n  gridctl describe tour -o yaml",
		Args:    exactly("JOB"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.describe(cmd.Context(), args[0]) },
	}
	a.outputFlag(cmd)
	return cmd
}

// describeView is a job as describe has it.
type describeView struct {
	jobStatus
	Manifest manifestView  `json:"manifest"`
	Shards   []shardView   `json:"shards"` // the first maxShards
	Workers  []workerView  `json:"workers"`
	Failures []failureView `json:"failures"` // the first maxListed
	Problems []string      `json:"problems"` // what could not be found out

	manifest *manifest.Manifest
	inputs   []manifest.Input // nil: not known now
	mine     bool             // the submitter is who asks
}

// manifestView is a manifest in the words of job.yaml; what were files there are blobs now.
type manifestView struct {
	Program           contentView   `json:"program"`
	Args              []string      `json:"args"`
	Env               []envView     `json:"env"`
	Stdin             *contentView  `json:"stdin"`
	Inputs            []contentView `json:"inputs"` // null: not known now
	InputBytes        int64         `json:"input_bytes"`
	Bundle            uint32        `json:"bundle"`
	Bundles           uint64        `json:"bundles"`
	Shards            uint32        `json:"shards"`
	Quorum            uint32        `json:"quorum"`
	MemoryBytes       uint64        `json:"memory_bytes"`
	TimeoutSeconds    float64       `json:"timeout_seconds"`
	CheckpointSeconds float64       `json:"checkpoint_seconds"` // 0: none
	Retries           uint32        `json:"retries"`
	SuccessCodes      []uint32      `json:"success_codes"`
	KeepSeconds       float64       `json:"keep_seconds"`
	Combine           *combineView  `json:"combine"`
}

type contentView struct {
	Path   string `json:"path,omitempty"` // of an input, relative to /in
	Bytes  int64  `json:"bytes"`
	Digest string `json:"digest"`
}

type envView struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type combineView struct {
	Program contentView `json:"program"`
	Args    []string    `json:"args"`
}

type failureView struct {
	Unit     uint64 `json:"unit"`
	Status   string `json:"status"` // failed, conflict
	Kind     string `json:"kind"`
	Text     string `json:"text"`
	Agent    string `json:"agent"`
	Attempts uint32 `json:"attempts"`
}

func (a *app) describe(ctx context.Context, name string) (err error) {
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	job, err := g.findJob(ctx, name)
	if err != nil {
		return err
	}
	v := g.describe(ctx, job)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, problem := range v.Problems {
		a.say("%s", clean(problem))
	}
	a.note(v.jobStatus)
	return a.show(data{value: v, sections: v.sections(), names: []string{v.ID}})
}

// describe finds out what there is to know. What it cannot find out, such as where no steward answers, is a
// problem of the view and no error: the rest is worth showing.
func (g *grid) describe(ctx context.Context, job records.Job) *describeView {
	m := job.Manifest
	v := &describeView{
		jobStatus: g.jobStatus(ctx, job), mine: m.Submitter == g.id.ID(),
		Manifest: newManifestView(m), manifest: m, Failures: []failureView{}, Problems: []string{},
	}
	g.settle(ctx, job, &v.jobStatus)
	v.addShards(ctx, g, job)
	if err := v.addInputs(ctx, g, job); err != nil {
		v.Problems = append(v.Problems, fmt.Sprintf("which inputs the job has is not known now: %v", err))
	}
	if v.Failed+v.Conflict > 0 {
		units, err := g.units(ctx, job)
		if err != nil {
			v.Problems = append(v.Problems, fmt.Sprintf("why units failed is not known now: %v", err))
		}
		v.addFailures(units)
	}
	return v
}

func newManifestView(m *manifest.Manifest) manifestView {
	v := manifestView{
		Program: content(m.Program), Args: append([]string{}, m.Args...), Env: []envView{},
		Bundle: m.Bundle, Bundles: m.Bundles(), Shards: m.Shards(), Quorum: m.Quorum, MemoryBytes: m.Memory,
		TimeoutSeconds: m.Timeout.Seconds(), CheckpointSeconds: m.CheckpointEvery().Seconds(), Retries: m.Retries, SuccessCodes: m.SuccessCodes,
		KeepSeconds: m.Expires.Sub(m.Created).Seconds(),
	}
	for _, e := range m.Env {
		v.Env = append(v.Env, envView(e))
	}
	if !m.Stdin.IsZero() {
		stdin := content(m.Stdin)
		v.Stdin = &stdin
	}
	if c := m.Combine; c != nil {
		v.Combine = &combineView{Program: content(c.Program), Args: append([]string{}, c.Args...)}
	}
	return v
}

func content(b jobs.Blob) contentView { return contentView{Bytes: b.Size, Digest: b.Digest.String()} }

// addInputs fetches the list of inputs. Its holders forget it some time after the job ended.
func (v *describeView) addInputs(ctx context.Context, g *grid, job records.Job) error {
	list := job.Manifest.Inputs
	if list.IsZero() {
		v.Manifest.Inputs = []contentView{}
		return nil
	}
	if list.Size > manifest.MaxInputList {
		return jobs.Errorf(jobs.Invalid, "their list has %d bytes, expected at most %d", list.Size, manifest.MaxInputList)
	}
	ctx, cancel := context.WithTimeout(ctx, inputsTimeout)
	defer cancel()
	if err := g.fetchBlob(ctx, job.ID, list, ledger.ReportRef{}); err != nil {
		return err
	}
	text, err := g.readBlob(list)
	if err != nil {
		return err
	}
	if v.inputs, err = manifest.DecodeInputs(text); err != nil {
		return err
	}
	for _, in := range v.inputs {
		c := content(in.Blob)
		c.Path = in.Path
		v.Manifest.Inputs = append(v.Manifest.Inputs, c)
		v.Manifest.InputBytes += in.Blob.Size
	}
	return nil
}

func (v *describeView) addFailures(units []ledger.Unit) {
	for n, u := range units {
		if u.Status != ledger.Failed && u.Status != ledger.Conflict {
			continue
		}
		if len(v.Failures) == maxListed {
			return
		}
		f := failureView{Unit: uint64(n), Status: u.Status.String(), Attempts: u.Attempts}
		if u.Failure.Failed() {
			f.Kind, f.Text, f.Agent = u.Failure.Kind.String(), u.Failure.Text, u.From.Author.String()
		}
		v.Failures = append(v.Failures, f)
	}
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
