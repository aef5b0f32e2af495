package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

const (
	// fetchTimeout bounds the time until all blobs of a job are here.
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
	ctx, p.cancel = context.WithCancel(ctx)
	fetching, pause := context.WithTimeout(ctx, fetchTimeout)
	p.pause, p.paused = pause, false
	job := s.job
	w.spawn(func() event {
		defer p.cancel()
		defer pause()
		start := time.Now()
		identity, err := job.Manifest.Identity()
		var ready *executor.Program
		if err == nil {
			ready, err = w.load(fetching, job)
		}
		if err == nil {
			err = w.o.Runner.Prepare(ctx, ready)
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
	case p.paused || errors.Is(err, executor.ErrDropped):
		// It is loaded when a unit may run again.
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

// load fetches what a job's units need and checks it once more.
func (w *Worker) load(ctx context.Context, job records.Job) (*executor.Program, error) {
	m := job.Manifest
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
	if p.Inputs, err = w.fetchInputs(ctx, job); err != nil {
		return nil, err
	}
	return p, nil
}

func (w *Worker) fetchInputs(ctx context.Context, job records.Job) ([]executor.File, error) {
	m := job.Manifest
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

// fetch brings a blob that a job's units need here if it is not, and returns where its bytes lie.
func (w *Worker) fetch(ctx context.Context, job records.Job, b jobs.Blob) (string, error) {
	return w.bring(ctx, job, blobs.Claim{Job: job.ID, Kind: blobs.Cached}, b)
}

// bring brings a blob here if it is not, checks its bytes once more and returns where they lie. hints are members that
// may have it beside those that should.
func (w *Worker) bring(ctx context.Context, job records.Job, claim blobs.Claim, b jobs.Blob, hints ...jobs.AgentID) (string, error) {
	err := w.o.Dir.Keep(claim, b)
	if jobs.KindOf(err) == jobs.NotFound {
		if err = w.o.Blobs.Fetch(ctx, claim, b, peer.Sources(w.o.Self, b.Digest, w.o.Members(), hints...)); err == nil {
			w.moved(job, b.Size, 0)
		}
	}
	if err == nil {
		err = w.o.Dir.Verify(b.Digest)
	}
	if err != nil {
		return "", err
	}
	return w.o.Dir.Path(b.Digest)
}

func (w *Worker) moved(job records.Job, in, out int64) {
	if w.o.Moved != nil {
		w.o.Moved(job, in, out)
	}
}

// start runs units of one shard in a slot.
func (w *Worker) start(ctx context.Context, tasks []task, p *program, now time.Time) {
	if p.failure.Failed() {
		for _, t := range tasks {
			none := record.Outcome{}
			w.endedWith(t, result{Result: executor.Result{Failure: p.failure}, outcome: none.Encode()}, now)
		}
		return
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx)) // stop cancels it, with a cause
	r := &run{shard: tasks[0].bundle.shard, program: p, since: now, cancel: cancel, ahead: make(chan task, len(tasks))}
	r.current.Store(&tasks[0])
	r.saver = w.saver(tasks, p, now)
	if len(tasks) == 1 && (p.unit == 0 || p.unit >= worthSaving) {
		r.watch = &watch{}
	}
	for _, t := range tasks {
		r.ahead <- t
	}
	close(r.ahead)
	w.running[r] = struct{}{}
	ready, identity := p.ready, p.identity
	w.spawn(func() event {
		defer cancel(nil)
		ran := w.work(ctx, r, ready, identity)
		stopped := ctx.Err() != nil
		return func(now time.Time) {
			delete(w.running, r)
			if r.saver != nil {
				r.saver.end()
			}
			w.ran(r, ran, stopped, now)
		}
	})
}

// result is what became of a unit.
type result struct {
	task
	executor.Result
	lineage record.Lineage // from where it went on
	kept    time.Duration  // CPU time of the unit at the newest checkpoint of this run; 0: it left none
	outcome []byte         // encoded
	err     error          // it was not run, or not to its end
}

// work runs a slot's units, until one cannot be run, they take long or leave
// much, or the job is over.
func (w *Worker) work(ctx context.Context, r *run, ready *executor.Program, identity jobs.Digest) (ran []result) {
	m := r.shard.job.Manifest
	size, began := 0, time.Now().Round(0) // by the wall clock: after a sleep a steward is asked first
	for t := range r.ahead {
		r.current.Store(&t)
		args, env := m.Command(t.unit)
		got := result{task: t}
		u := &executor.Unit{
			Args: args, Env: env, Seed: manifest.Seed(identity, t.unit), Timeout: m.Timeout, Succeeded: m.Succeeded,
		}
		u.Frozen = func(frozen bool) { w.told(r, frozen) }
		if r.watch != nil {
			u.Used = r.watch.used
		}
		if r.saver != nil {
			got.Result, got.err = r.saver.run(ctx, ready, u)
			got.lineage = r.saver.lineage
		} else {
			got.Result, got.err = w.o.Runner.Run(ctx, ready, u)
		}
		if got.err == nil {
			got.Failure = withInputs(got.Failure, ready)
			got.outcome = got.Outcome.Encode()
			got.Outcome = record.Outcome{} // its bytes are in outcome
		}
		ran = append(ran, got)
		size += len(got.outcome)
		if got.err != nil || size >= flushBytes || time.Since(began) >= sliceLong || w.o.Runnable(r.shard.id.Job) != nil {
			break
		}
	}
	return ran
}

// ran takes what became of a slot's units. Those that were not run wait for a slot again.
func (w *Worker) ran(r *run, ran []result, stopped bool, now time.Time) {
	left := r.left()
	var fault error
	for _, got := range ran {
		if got.err != nil || got.bundle.dropped {
			w.lose(r, got.Times.CPU)
		}
		switch {
		case got.bundle.dropped:
		case got.err == nil:
			if r.saver != nil {
				r.saver.over = true
				got.kept = r.saver.kept()
			}
			if r.program.unit == 0 {
				w.log.Debug("first unit ended", "job", r.shard.id.Job)
			}
			r.program.measure(got.Times.Wall)
			w.endedWith(got.task, got, now)
		case errors.Is(got.err, executor.ErrDropped):
			w.dropped(got.task, now)
		case stopped:
			left = slices.Insert(left, 0, got.task) // another unit was to be stopped, and had just ended
		default:
			fault = got.err
		}
	}
	w.requeue(r.shard, left)
	if fault != nil {
		w.fault(r.shard.id.Job, "cannot run a unit", fault, now)
	}
}

// measure takes a unit's time into the moving average, which is never zero then.
func (p *program) measure(wall time.Duration) {
	if p.unit == 0 {
		p.unit = wall
	}
	p.unit = max(time.Microsecond, p.unit+(wall-p.unit)/8)
}

func (w *Worker) endedWith(t task, r result, now time.Time) {
	if r.kept > 0 {
		if t.bundle.ended.kept == nil {
			t.bundle.ended.kept = map[uint64]time.Duration{}
		}
		t.bundle.ended.kept[t.unit] = r.kept
	}
	w.ended(t.bundle, record.UnitReport{
		Unit: t.unit, Outcome: jobs.DigestOf(r.outcome), Failure: r.Failure, Times: r.Times, Lineage: r.lineage,
	}, r.outcome, now)
	if w.o.Ended != nil {
		w.o.Ended(Ended{Job: t.bundle.shard.job, Unit: t.unit, Times: r.Times, Failure: r.Failure, Memory: r.Memory, Bytes: len(r.outcome)})
	}
	if r.Failure.Failed() {
		w.log.Info("unit failed", "unit", jobs.UnitID{Job: t.bundle.shard.id.Job, Unit: t.unit}, "failure", firstLine(r.Failure.String()))
	}
}

func firstLine(s string) string {
	line, _, _ := bytes.Cut([]byte(s), []byte("\n"))
	return string(line[:min(len(line), 200)])
}
