package worker

import (
	"context"
	"math"
	"time"

	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
)

const (
	// maxBacklog bounds the bytes that wait to be packed or kept; above it no unit starts.
	maxBacklog = 256 << 20
	// lowWater is how much work is left when the worker asks for more, so that slots never wait for an
	// answer. At the end of a job it is how much longer than others an agent may work, so it is short.
	lowWater = 250 * time.Millisecond
	// patience is how long the worker waits for one steward before it asks for another shard's work.
	patience = time.Second
	// askEvery spaces questions to a steward that has nothing, and askEmpty those to one that says that
	// nothing is open: whoever opens units again wakes.
	askEvery = 15 * time.Second
	askEmpty = 2 * time.Minute
	// minAsk spaces exchanges for one shard, tellAfter those that only tell what is no longer held, and
	// wakeEvery those that follow wakes: the first is followed at once, for a job may be opened for lending
	// just after an agent asked in vain.
	minAsk    = 20 * time.Millisecond
	tellAfter = 200 * time.Millisecond
	wakeEvery = 500 * time.Millisecond
	// sliceWork is how much work of short units a slot takes at once, sliceUnits how many of them at most, and
	// after sliceLong it begins no other of them.
	sliceWork  = 10 * time.Millisecond
	sliceUnits = 100
	sliceLong  = 100 * time.Millisecond
	// refreshEvery is how often the worker looks for live jobs at most, unless it is woken.
	refreshEvery = time.Second
	// maxHeld bounds the bundles held of one shard, well below what a steward takes for a lie.
	maxHeld = 2 * steward.MaxLease
	// forever is longer than any wait.
	forever = time.Duration(math.MaxInt64)
)

// step starts what can start now and returns when to look again at the latest.
func (w *Worker) step(ctx context.Context, now time.Time) time.Duration {
	w.meter(now, false)
	w.wake(now)
	w.stopStalled(now)
	if !now.Before(w.refreshAt) {
		w.refresh(now)
	}
	w.checkStore(now)
	w.heed(now)
	w.takeBack(now)
	w.startUnits(ctx, now)
	w.tellWorking()
	if w.backlog >= maxBacklog {
		w.finishAll(now) // no unit starts that could end their bundles
	}
	w.ask(ctx, now)
	w.tellAside(w.saving, now)
	w.letGo(w.saving)
	for w.flushDue(now) {
		w.flush(ctx)
	}
	w.leaveShards(ctx, now)
	if !now.Before(w.pushAt) {
		w.push(ctx, now)
	}
	return w.nextLook(now)
}

// tellWorking says whether units run, when that has changed.
func (w *Worker) tellWorking() {
	if busy := len(w.running) > 0; busy != w.busy && w.o.Working != nil {
		w.busy = busy
		w.o.Working(busy)
	}
}

// refresh brings the shards in line with the live jobs.
func (w *Worker) refresh(now time.Time) {
	w.refreshAt = now.Add(refreshEvery)
	live := map[jobs.JobID]bool{}
	for _, j := range w.o.Store.Jobs(true) {
		if j.Manifest.Supported() != nil {
			continue // a newer agent will run it
		}
		live[j.ID] = true
		if at := j.Manifest.Expires.Add(1); at.After(now) { // it is live at that very moment
			w.refreshAt = earlier(w.refreshAt, at) // the store may go by another clock than this machine's, and call it live then too
		}
		for n := range j.Manifest.Shards() {
			id := jobs.ShardID{Job: j.ID, Shard: n}
			if w.shards[id] == nil {
				s := &shard{id: id, job: j, bundles: map[uint64]*bundle{}}
				s.changed = len(w.untold(s, jobs.AgentID{}, now)) > 0
				s.refusal = w.refuses(s)
				s.asides = w.asides(id)
				w.shards[id] = s
			}
		}
	}
	for id, s := range w.shards {
		if !live[id.Job] {
			w.end(s)
		}
	}
}

// woken lets the worker look at a job at once.
func (w *Worker) woken(job jobs.JobID, now time.Time) {
	w.refreshAt = time.Time{}
	for id, s := range w.shards {
		if id.Job != job {
			continue
		}
		s.empty = 0
		if at := later(now, s.wokenAt.Add(wakeEvery)); at.Before(s.askAt) || s.asking && !s.wokenAt.After(s.askedAt) {
			s.askAt, s.wokenAt = at, at
		}
	}
}

// startUnits fills free slots from the queues.
func (w *Worker) startUnits(ctx context.Context, now time.Time) {
	slots := w.slots()
	if slots == 0 {
		return // nothing is fetched either
	}
	for _, s := range w.inTurn(now, func(s *shard) bool { return len(s.queue) > 0 }) {
		if w.o.Runnable(s.id.Job) != nil {
			continue // it ended just now: whoever says so also wakes
		}
		p := w.prepare(ctx, s)
		for w.mayStart(s, now) && len(w.running) < slots && len(s.queue) > 0 && w.backlog < maxBacklog && w.fits(s) {
			n := w.together(len(s.queue), p)
			tasks := s.queue[:n]
			s.queue = s.queue[n:]
			w.start(ctx, tasks, p, now)
		}
	}
}

// together returns how many units of a queue a slot takes at once. Short ones share the way to the slot and back,
// which costs more than they do.
func (w *Worker) together(queued int, p *program) int {
	if p.unit == 0 {
		return 1
	}
	return max(1, min(int(sliceWork/max(p.unit, sliceWork/sliceUnits)), queued/(2*max(1, w.slots()))))
}

// takeBack lets other slots have the units that wait behind one that turns out to be long.
func (w *Worker) takeBack(now time.Time) {
	for r := range w.running {
		if now.Sub(r.since) >= sliceLong {
			w.requeue(r.shard, r.left())
		}
	}
}

// mayStart reports whether the shard's units may start: the job is not past its time, a steward answered
// lately, and the program is here.
func (w *Worker) mayStart(s *shard, now time.Time) bool {
	return !now.After(s.job.Manifest.Expires) && w.heardLately(s, now) && w.programs[s.id.Job].startable()
}

// heardLately reports whether a steward answered within the time that leases live, before now or, where the clock was
// set back since, after it: then nobody knows how long ago that was.
func (w *Worker) heardLately(s *shard, now time.Time) bool {
	return now.Sub(s.answered).Abs() <= w.o.Lease.TTL
}

// ask exchanges with stewards: to get work before the slots run out of it, to renew what is held, and to
// tell of what is no longer held. It asks for work one steward at a time, so that submitters get their turns;
// the answer makes the next step.
func (w *Worker) ask(ctx context.Context, now time.Time) {
	hungry := w.hungry(now)
	for _, s := range w.inTurn(now, func(s *shard) bool { return !now.Before(w.askDue(s, now, hungry)) }) {
		wants := hungry && !now.Before(w.workDue(s, now))
		if wants || !now.Before(w.askDue(s, now, false)) {
			w.exchange(ctx, s, wants, now)
		}
		if wants {
			hungry = false
		}
	}
}

// askDue returns when the shard's next exchange falls due.
func (w *Worker) askDue(s *shard, now time.Time, hungry bool) time.Time {
	due := never(now)
	if s.asking {
		return due
	}
	if len(s.bundles) > 0 {
		due = s.askedAt.Add(w.o.Lease.Period)
	}
	if s.changed {
		due = s.askedAt.Add(tellAfter)
	}
	if hungry {
		due = earlier(due, w.workDue(s, now))
	}
	return later(due, later(s.retryAt, s.askedAt.Add(minAsk)))
}

// workDue returns when the shard may be asked for work. A queue that cannot start gets no longer.
func (w *Worker) workDue(s *shard, now time.Time) time.Time {
	if s.asking || s.refusal != nil || len(s.bundles) >= maxHeld || len(s.queue) > 0 && !w.mayStart(s, now) || w.crowded(s, now) {
		return never(now)
	}
	return later(s.askAt, later(s.restUntil, later(s.retryAt, s.askedAt.Add(minAsk))))
}

// hungry reports whether it is time to ask for work.
func (w *Worker) hungry(now time.Time) bool {
	if w.backlog >= maxBacklog || w.unfit || w.slots() == 0 {
		return false
	}
	for _, s := range w.shards {
		if s.asking && s.wanting && now.Sub(s.askedAt) < patience {
			return false
		}
	}
	return w.supply(now) < lowWater
}

// supply is how long the slots have work. Work of unknown length lasts for ever: there is time to ask when it
// has been measured. So does a long unit, until it is nearly over, so that no unit waits here for minutes
// while another agent has a slot free. What is frozen goes on before anything else starts.
func (w *Worker) supply(now time.Time) time.Duration {
	if w.anyFrozen() {
		return forever
	}
	slots := w.slots()
	queued, work := 0, time.Duration(0)
	for _, s := range w.shards {
		if len(s.queue) == 0 || !w.mayStart(s, now) {
			continue
		}
		fit := w.fitSoon(s, now)
		if fit == 0 {
			continue
		}
		unit := w.programs[s.id.Job].unit
		if queued += min(len(s.queue), fit); unit == 0 {
			work = forever
		}
		if work < forever/2 {
			work += time.Duration(min(float64(len(s.queue))*float64(unit), float64(forever/4)))
		}
	}
	if queued < slots-len(w.running) {
		return 0
	}
	soonest := forever
	for r := range w.running {
		soonest = min(soonest, r.remains(now))
	}
	if soonest == forever || work == forever {
		return forever
	}
	return soonest + work/time.Duration(max(1, slots))
}

// remains is how long a run takes yet, by what its job's units took; forever where none has ended.
func (r *run) remains(now time.Time) time.Duration {
	if r.program.unit == 0 {
		return forever
	}
	return max(0, time.Duration(1+len(r.ahead))*r.program.unit-now.Sub(r.since))
}

// wanted is how many slots to ask a shard's work for: all that there is memory for when units are short, else only those
// that are free.
func (w *Worker) wanted(s *shard, p *program, now time.Time) int {
	fit := w.fitSoon(s, now)
	if p != nil && p.unit > 0 && p.unit < lowWater {
		return max(1, min(w.slots(), fit))
	}
	free := w.slots() - len(w.running)
	for _, s := range w.shards {
		free -= len(s.queue)
	}
	return max(1, min(free, fit-len(s.queue)))
}

// nextLook is when something falls due without an event.
func (w *Worker) nextLook(now time.Time) time.Duration {
	next := now.Add(min(askEvery, w.o.Lease.TTL/2)) // wake would take longer pauses for a sleep of the machine
	hungry := w.hungry(now)
	for _, s := range w.shards {
		next = earlier(next, w.askDue(s, now, hungry))
		if s.asking && s.wanting && now.Sub(s.askedAt) < patience {
			next = earlier(next, s.askedAt.Add(patience))
		}
		if !s.woke.IsZero() {
			next = earlier(next, now.Add(confirmWithin/4))
		}
		if len(s.bundles) > 0 {
			next = earlier(next, later(w.refreshAt, s.job.Manifest.Expires))
		}
		next = earlier(next, w.leaveDue(s, now))
	}
	if !w.metered.IsZero() && !w.holds() {
		next = earlier(next, w.metered.Add(meterEvery))
	}
	if supply := w.supply(now); !hungry && supply >= lowWater && supply-lowWater < askEvery {
		next = earlier(next, now.Add(supply-lowWater+1))
	}
	for r := range w.running {
		if len(r.ahead) > 0 {
			next = earlier(next, r.since.Add(sliceLong))
		}
	}
	if len(w.finished) > 0 && w.flushes < maxFlushes {
		next = earlier(next, w.flushTime())
	}
	if len(w.reports) > 0 {
		next = earlier(next, w.pushAt)
	}
	return max(0, next.Sub(now))
}

// never is a time that does not fall due.
func never(now time.Time) time.Time { return now.Add(24 * time.Hour) }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
