package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

const (
	// fetchTimeout bounds the time until all blobs of a job are here and compiled.
	fetchTimeout = 10 * time.Minute
	// restAfterFault is how long a job rests on this agent after a fault of the agent's own.
	restAfterFault = 30 * time.Second
)

// prepare returns the job's program and starts to load it if that was not done.
func (w *Worker) prepare(ctx context.Context, s *shard) *program {
	p := w.programs[s.id.Job]
	if p == nil {
		p = &program{}
		w.programs[s.id.Job] = p
	}
	if p.loading || p.startable() {
		return p
	}
	p.loading = true
	ctx, p.cancel = context.WithTimeout(ctx, fetchTimeout)
	job := s.job
	w.spawn(func() event {
		defer p.cancel()
		start := time.Now()
		identity, err := job.Manifest.Identity()
		var ready *executor.Program
		if err == nil {
			ready, err = w.load(ctx, job.ID, job.Manifest)
		}
		return func(now time.Time) {
			p.loading = false
			w.loaded(job, p, &program{ready: ready, identity: identity}, err, now)
			w.log.Debug("program loaded", "job", job.ID, "name", job.Manifest.Name, "took", now.Sub(start), "err", err)
		}
	})
	return p
}

// loaded takes what became of loading a program.
func (w *Worker) loaded(job records.Job, p, got *program, err error, now time.Time) {
	var unusable *executor.UnusableError
	switch {
	case w.programs[job.ID] != p || w.stopping:
		// The job has ended meanwhile, or everything does.
	case err == nil:
		p.ready, p.identity = got.ready, got.identity
	case errors.As(err, &unusable):
		p.failure = unusable.Failure
		p.unit = time.Microsecond // units fail as fast as they are lent
	default:
		w.fault(job.ID, "cannot prepare the job's program", err, now)
	}
}

// fault gives a job's bundles back for a fault of this agent's own and lets the job rest here. Its blobs are
// verified again before it goes on.
func (w *Worker) fault(job jobs.JobID, what string, err error, now time.Time) {
	w.log.Warn(what, "job", job, "err", err, "rests_for", restAfterFault)
	for _, s := range w.shards {
		if s.id.Job == job {
			w.giveBack(s, err)
			s.restUntil, s.fault = now.Add(restAfterFault), fmt.Sprintf("%s: %s", what, brief(err))
		}
	}
	if p := w.programs[job]; p != nil {
		p.ready = nil
	}
}

// load fetches what a job's units need, checks it once more and compiles the program.
func (w *Worker) load(ctx context.Context, job jobs.JobID, m *manifest.Manifest) (*executor.Program, error) {
	p := &executor.Program{Digest: m.Program.Digest, Memory: m.Memory}
	var err error
	if p.Path, err = w.fetch(ctx, job, m.Program); err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	if !m.Stdin.IsZero() {
		if p.Stdin, err = w.fetch(ctx, job, m.Stdin); err != nil {
			return nil, fmt.Errorf("stdin: %w", err)
		}
	}
	if p.Inputs, err = w.fetchInputs(ctx, job, m); err != nil {
		return nil, err
	}
	return p, w.o.Runner.Prepare(ctx, p)
}

func (w *Worker) fetchInputs(ctx context.Context, job jobs.JobID, m *manifest.Manifest) ([]executor.File, error) {
	if m.Inputs.IsZero() {
		return nil, nil
	}
	if _, err := w.fetch(ctx, job, m.Inputs); err != nil {
		return nil, fmt.Errorf("list of inputs: %w", err)
	}
	r, _, err := w.o.Dir.Open(m.Inputs.Digest)
	if err != nil {
		return nil, err
	}
	list, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	inputs, err := manifest.DecodeInputs(list)
	if err != nil {
		return nil, &executor.UnusableError{Failure: jobs.Failure{Kind: jobs.FailureInput, Text: err.Error()}}
	}
	files := make([]executor.File, 0, len(inputs))
	for _, in := range inputs {
		path, err := w.fetch(ctx, job, in.Blob)
		if err != nil {
			return nil, fmt.Errorf("input %s: %w", in.Path, err)
		}
		files = append(files, executor.File{Path: in.Path, Source: path, Size: in.Blob.Size})
	}
	return files, nil
}

// fetch brings a blob here if it is not, checks its bytes once more and returns where they lie.
func (w *Worker) fetch(ctx context.Context, job jobs.JobID, b jobs.Blob) (string, error) {
	if err := w.o.Blobs.Fetch(ctx, job, b, peer.Sources(b.Digest, w.o.Members())); err != nil {
		return "", err
	}
	if err := w.o.Dir.Verify(b.Digest); err != nil {
		return "", err
	}
	return w.o.Dir.Path(b.Digest)
}

// start runs one unit in a slot.
func (w *Worker) start(ctx context.Context, t task, p *program, now time.Time) {
	if p.failure.Failed() {
		w.endedWith(t, executor.Result{Failure: p.failure}, now)
		return
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // stop cancels it, with a cause
	r := &run{task: t, program: p, since: now, cancel: cancel}
	w.running[r] = struct{}{}
	job, m, ready := t.bundle.shard.id.Job, t.bundle.shard.job.Manifest, p.ready
	args, env := m.Command(t.unit)
	unit := &executor.Unit{
		Args: args, Env: env, Seed: manifest.Seed(p.identity, t.unit), Timeout: m.Timeout, Succeeded: m.Succeeded,
	}
	w.spawn(func() event {
		defer cancel(nil)
		result, err := w.o.Runner.Run(ctx, ready, unit)
		stopped := ctx.Err() != nil
		return func(now time.Time) {
			delete(w.running, r)
			switch {
			case t.bundle.dropped:
			case err == nil:
				if p.unit == 0 {
					w.log.Debug("first unit ended", "job", job)
				}
				p.measure(result.Times.Wall)
				w.endedWith(t, result, now)
			case !stopped:
				w.fault(job, "cannot run a unit", err, now)
			}
		}
	})
}

// measure takes a unit's time into the moving average, which is never zero then.
func (p *program) measure(wall time.Duration) {
	if p.unit == 0 {
		p.unit = wall
	}
	p.unit = max(time.Microsecond, p.unit+(wall-p.unit)/8)
}

func (w *Worker) endedWith(t task, r executor.Result, now time.Time) {
	outcome := r.Outcome.Encode()
	w.ended(t.bundle, record.UnitReport{
		Unit: t.unit, Outcome: jobs.DigestOf(outcome), Failure: r.Failure, Times: r.Times,
	}, outcome, now)
	if r.Failure.Failed() {
		w.log.Info("unit failed", "unit", jobs.UnitID{Job: t.bundle.shard.id.Job, Unit: t.unit}, "failure", firstLine(r.Failure.String()))
	}
}

func firstLine(s string) string {
	line, _, _ := bytes.Cut([]byte(s), []byte("\n"))
	return string(line[:min(len(line), 200)])
}
