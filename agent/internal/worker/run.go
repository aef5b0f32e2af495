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
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// fetchTimeout bounds the time until all blobs of a job are here and compiled.
const fetchTimeout = 10 * time.Minute

// prepare returns the job's program and starts to load it if that was not done.
func (w *Worker) prepare(ctx context.Context, s *shard) *program {
	p := w.programs[s.id.Job]
	if p == nil {
		p = &program{}
		w.programs[s.id.Job] = p
	}
	if p.loading || p.ready != nil || p.failure.Failed() {
		return p
	}
	p.loading = true
	job := s.job.Manifest
	w.spawn(func() event {
		start := time.Now()
		identity, err := job.Identity()
		var ready *executor.Program
		if err == nil {
			ready, err = w.load(ctx, s.id.Job, job)
		}
		return func(now time.Time) {
			p.loading = false
			var unusable *executor.UnusableError
			switch {
			case err == nil:
				p.ready, p.identity = ready, identity
				w.log.Info("program ready", "job", s.id.Job, "name", job.Name, "took", now.Sub(start))
			case errors.As(err, &unusable):
				p.failure = unusable.Failure
			default:
				w.fault(s.id.Job, "cannot prepare the job's program", err, now)
			}
		}
	})
	return p
}

// fault gives a job's bundles back for a fault of this agent's own and lets the job rest here.
func (w *Worker) fault(job jobs.JobID, what string, err error, now time.Time) {
	w.log.Warn(what, "job", job, "err", err, "rests_for", restAfterFault)
	for _, s := range w.shards {
		if s.id.Job == job {
			w.cancel(s, err)
			s.askAt = now.Add(restAfterFault)
		}
	}
}

// load fetches what a job's units need, checks it once more and compiles the program.
func (w *Worker) load(ctx context.Context, job jobs.JobID, m *manifest.Manifest) (*executor.Program, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
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
	if err := w.o.Blobs.Fetch(ctx, job, b, peer.Holders(b.Digest, w.o.Members(), 2*peer.Copies)); err != nil {
		return "", err
	}
	if err := w.o.Dir.Verify(b.Digest); err != nil {
		return "", err
	}
	return w.o.Dir.Path(b.Digest)
}

// start runs one unit in a slot.
func (w *Worker) start(ctx context.Context, s *shard, t task, p *program) {
	if p.failure.Failed() {
		w.endedWith(t, executor.Result{Failure: p.failure}, time.Now())
		return
	}
	unit := jobs.UnitID{Job: s.id.Job, Unit: t.unit}
	ctx, cancel := context.WithCancelCause(ctx)
	s.running[unit] = cancel
	w.running++
	m, ready := s.job.Manifest, p.ready
	w.spawn(func() event {
		defer cancel(nil)
		args, env := m.Command(t.unit)
		result, err := w.o.Runner.Run(ctx, ready, &executor.Unit{
			Args: args, Env: env, Seed: manifest.Seed(p.identity, t.unit), Timeout: m.Timeout, Succeeded: m.Succeeded,
		})
		return func(now time.Time) {
			delete(s.running, unit)
			w.running--
			switch {
			case t.bundle.dropped:
			case err != nil && ctx.Err() == nil:
				w.fault(s.id.Job, "cannot run a unit", err, now)
			case err == nil:
				p.measure(result.Times.Wall)
				w.endedWith(t, result, now)
			}
		}
	})
}

// measure takes a unit's time into the moving average.
func (p *program) measure(wall time.Duration) {
	if p.unit == 0 {
		p.unit = wall
		return
	}
	p.unit += (wall - p.unit) / 8
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
