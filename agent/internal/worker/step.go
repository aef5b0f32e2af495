package worker

import (
	"cmp"
	"context"
	"slices"
	"time"

	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// step starts what can start now and returns when to look again at the latest.
func (w *Worker) step(ctx context.Context, now time.Time) time.Duration {
	w.refresh(now)
	w.startUnits(ctx, now)
	w.ask(ctx, now)
	if w.flushDue(now) {
		w.flush(ctx)
	}
	w.push(ctx, now)
	return w.nextLook(now)
}

// refresh brings the shards in line with the live jobs.
func (w *Worker) refresh(now time.Time) {
	live := map[jobs.JobID]bool{}
	for _, j := range w.o.Store.Jobs(true) {
		if j.Manifest.Supported() != nil {
			continue // a newer agent will run it
		}
		live[j.ID] = true
		for n := range j.Manifest.Shards() {
			id := jobs.ShardID{Job: j.ID, Shard: n}
			if w.shards[id] == nil {
				w.shards[id] = &shard{
					id: id, job: j, bundles: map[uint64]*bundle{},
					running: map[jobs.UnitID]context.CancelCauseFunc{}, askAt: now,
				}
			}
		}
	}
	for id, s := range w.shards {
		if live[id.Job] {
			continue
		}
		w.cancel(s, errDead)
		if s.idle() {
			delete(w.shards, id)
			delete(w.programs, id.Job)
		}
	}
}

// woken lets the worker ask for a job at once.
func (w *Worker) woken(job jobs.JobID) {
	for id, s := range w.shards {
		if id.Job == job {
			s.askAt = time.Time{}
		}
	}
}

// startUnits fills free slots from the queues.
func (w *Worker) startUnits(ctx context.Context, now time.Time) {
	for _, s := range w.byShare(now) {
		if len(s.queue) == 0 {
			continue
		}
		p := w.prepare(ctx, s)
		if p.loading || now.Sub(s.answered) > steward.TTL {
			continue
		}
		for w.running < w.o.Slots && len(s.queue) > 0 && w.backlog < maxBacklog {
			t := s.queue[0]
			s.queue = s.queue[1:]
			w.start(ctx, s, t, p)
		}
	}
}

// byShare orders the shards: those whose submitter got the least CPU time here first, then the oldest job.
func (w *Worker) byShare(now time.Time) []*shard {
	all := make([]*shard, 0, len(w.shards))
	for _, s := range w.shards {
		all = append(all, s)
	}
	used := func(s *shard) float64 {
		if u := w.usage[s.job.Manifest.Submitter]; u != nil {
			return u.value(now)
		}
		return 0
	}
	slices.SortFunc(all, func(a, b *shard) int {
		return cmp.Or(cmp.Compare(used(a), used(b)), a.job.Manifest.Created.Compare(b.job.Manifest.Created),
			jobs.Digest(a.id.Job).Compare(jobs.Digest(b.id.Job)), cmp.Compare(a.id.Shard, b.id.Shard))
	})
	return all
}

// ask exchanges with stewards: to get work while little is queued, to renew what is held, and to tell of
// what is no longer held.
func (w *Worker) ask(ctx context.Context, now time.Time) {
	hungry := w.hungry()
	for _, s := range w.byShare(now) {
		if s.asking || now.Sub(s.askedAt) < minAsk {
			continue
		}
		wants := hungry && !now.Before(s.askAt)
		renew := !s.idle() && now.Sub(s.askedAt) >= steward.Period
		if wants || renew || s.changed {
			w.exchange(ctx, s, wants, now)
		}
		if wants {
			hungry = false // one question at a time; the answer makes the next step
		}
	}
}

// hungry reports whether the queues hold less than lowWater of work for all slots.
func (w *Worker) hungry() bool {
	if w.backlog >= maxBacklog {
		return false
	}
	var queued time.Duration
	count := 0
	for _, s := range w.shards {
		count += len(s.queue)
		if p := w.programs[s.id.Job]; p != nil {
			queued += time.Duration(len(s.queue)) * p.unit
		}
		if s.asking {
			return false
		}
	}
	return count < w.o.Slots || queued < lowWater*time.Duration(w.o.Slots) && w.allMeasured()
}

// allMeasured reports whether the unit times of all queued jobs are known.
func (w *Worker) allMeasured() bool {
	for _, s := range w.shards {
		if p := w.programs[s.id.Job]; len(s.queue) > 0 && (p == nil || p.unit == 0) {
			return false
		}
	}
	return true
}

// nextLook is when something falls due without an event.
func (w *Worker) nextLook(now time.Time) time.Duration {
	next := now.Add(askEvery)
	earlier := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	hungry := w.hungry()
	for _, s := range w.shards {
		if s.asking {
			continue
		}
		soonest := s.askedAt.Add(minAsk)
		switch {
		case s.changed:
			earlier(soonest)
		case hungry:
			earlier(later(s.askAt, soonest))
		}
		if !s.idle() {
			earlier(s.askedAt.Add(steward.Period))
		}
	}
	if len(w.finished) > 0 && !w.flushing {
		earlier(w.oldest.Add(flushAfter))
	}
	for id, at := range w.retry {
		if !w.pushing[id] {
			earlier(at)
		}
	}
	return max(0, next.Sub(now))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// ended takes a unit's result into its bundle.
func (w *Worker) ended(b *bundle, u record.UnitReport, outcome []byte, now time.Time) {
	if b.size+len(u.Failure.Text) > reportBytes-manifest.MaxBundle*unitBytes {
		u.Failure.Text = "" // so many units of this bundle failed that their texts do not fit into one report
	}
	b.units = append(b.units, u)
	b.packed = append(b.packed, record.UnitOutcome{Unit: u.Unit, Bytes: outcome})
	b.bytes += len(outcome)
	b.size += unitBytes + len(u.Failure.Text)
	b.open--
	w.backlog += len(outcome)
	w.spent(b.shard.job.Manifest.Submitter, u.Times.CPU, now)
	if b.open > 0 {
		return
	}
	slices.SortFunc(b.units, func(x, y record.UnitReport) int { return cmp.Compare(x.Unit, y.Unit) })
	if len(w.finished) == 0 {
		w.oldest = now
	}
	w.finished = append(w.finished, b)
	w.bytes += b.bytes
}
