package worker

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

const (
	// usageHalfLife is how fast the CPU time that a submitter got here is forgotten in fair share.
	usageHalfLife = 24 * time.Hour
	// maxUsage bounds the submitters whose CPU time is remembered.
	maxUsage = 1000
)

// state is what the worker's goroutine knows; nobody else touches it.
type state struct {
	shards    map[jobs.ShardID]*shard
	programs  map[jobs.JobID]*program
	running   map[*run]struct{} // units in slots
	usage     map[jobs.KeyID]usage
	stepped   time.Time // when the last step was, by the wall clock
	refreshAt time.Time // when to look for live jobs again, unless woken
	stopping  bool
	unfit     bool // nothing more can be stored here
	leaving   bool // this agent leaves the grid
	heeded    *Offer
	busy      bool // units run, as was told

	metered time.Time        // when Options.Overhead was read last; zero: nothing is held
	read    time.Duration    // what it was
	sharing map[*shard]int64 // who shared it last, and in what proportion

	finished  []*part
	oldest    time.Time // when the oldest of finished was finished, about
	bytes     int       // of the outcomes of finished
	flushes   int       // under way
	flushRest time.Time // no flush before: the last one failed
	counter   uint32
	backlog   int // bytes of all outcomes that are not kept yet, from the end of their unit on

	reports map[jobs.Digest]*pending
	pushAt  time.Time // when to look for reports to push again
	pushing map[jobs.AgentID]bool
	silent  map[jobs.AgentID]time.Time // did not answer a push: no other before

	own  map[jobs.UnitID]*own // checkpoints
	free []jobs.UnitID        // whose checkpoints are to be let go of
}

func newState() state {
	return state{
		shards: map[jobs.ShardID]*shard{}, programs: map[jobs.JobID]*program{}, running: map[*run]struct{}{},
		usage: map[jobs.KeyID]usage{}, reports: map[jobs.Digest]*pending{},
		pushing: map[jobs.AgentID]bool{}, silent: map[jobs.AgentID]time.Time{},
		own: map[jobs.UnitID]*own{},
	}
}

// shard is a shard that this agent asks for, and what it holds of it.
type shard struct {
	id      jobs.ShardID
	job     records.Job
	bundles map[uint64]*bundle         // held
	queue   []task                     // units not started, in order
	hints   map[uint64][]*records.Note // of held units: from where they can go on, by others' word, not verified
	asideAt time.Time                  // tell another steward of checkpoints not before
	changed bool                       // held bundles ended since a steward was told

	asking    bool // an exchange is under way
	wanting   bool // it asks for work
	askedAt   time.Time
	askAt     time.Time // ask for work not before, unless woken
	wokenAt   time.Time // when a wake last let it ask, or will
	restUntil time.Time // ask for work not before, even if woken: this agent failed
	fault     string    // how
	refusal   error     // why its units are not for this machine; nil: they are
	retryAt   time.Time // say nothing before: the last exchange failed
	// answered is when the last exchange was started that a steward answered, by the wall clock alone: the other
	// stands still while a PC sleeps, which may be for days.
	answered time.Time
	woke     time.Time                  // since when no steward confirmed what is held, the machine having slept; zero: nothing is in doubt
	empty    int                        // answers in a row that nothing is open
	open     uint64                     // units that were open then, as the steward counts
	failures int                        // exchanges in a row that failed
	silence  string                     // why the last of them did
	skip     map[jobs.AgentID]time.Time // stewards passed over because they do not answer, until when
	lender   jobs.AgentID               // spoken to last
	standing standing
	spend    spend
	asides   int       // what was said of it beside results, see maxAsides
	heldAt   time.Time // when anything was held last
}

// bundle is a bundle that this agent holds.
type bundle struct {
	shard   *shard
	number  uint64
	attempt uint32
	open    int  // units not ended
	dropped bool // no longer held: its units count for nothing
	ended   part // of the units that ended, those that are in no finished part
	parts   int  // finished, and neither kept nor discarded yet
}

// part is what one report says of a bundle: all of its units, or some of them where all would take too much
// memory.
type part struct {
	bundle *bundle
	units  []record.UnitReport
	packed []record.UnitOutcome
	bytes  int // of packed, as counted in backlog
	size   int // of units in a report, about
	// kept is the CPU time of those units at their newest checkpoints that left any.
	kept   map[uint64]time.Duration
	failed time.Time // when it could not be stored for the first time
}

type task struct {
	bundle *bundle
	unit   uint64
}

// run is a unit in a slot, or a few short ones, one after the other.
type run struct {
	shard   *shard
	program *program
	since   time.Time
	cancel  context.CancelCauseFunc
	ahead   chan task            // not begun; closed, so that the slot and the worker take from it until it is empty
	current atomic.Pointer[task] // begun last
	saver   *saver               // nil: no checkpoints are made
	watch   *watch               // nil: short units, which nobody watches
	frozen  atomic.Bool          // the Runner does not let it go on
}

// left takes what is not begun.
func (r *run) left() (tasks []task) {
	for t := range r.ahead {
		tasks = append(tasks, t)
	}
	return tasks
}

// program is what a job needs on this agent before a unit can start.
type program struct {
	ready    *executor.Program
	identity jobs.Digest  // of the job, for its units' seeds
	failure  jobs.Failure // of kind input: every unit fails with it
	loading  bool
	cancel   context.CancelFunc // ends the loading
	pause    context.CancelFunc // ends it if it has not come further than to fetch
	paused   bool               // that was done
	unit     time.Duration      // measured time of one unit, moving average; 0: none has ended
}

// startable reports whether units can start, or fail, at once.
func (p *program) startable() bool { return p != nil && (p.ready != nil || p.failure.Failed()) }

// usage is the CPU time that a submitter got here.
type usage struct {
	cpu time.Duration
	at  time.Time
}

func (u usage) value(now time.Time) float64 {
	return u.cpu.Seconds() * math.Exp2(-now.Sub(u.at).Seconds()/usageHalfLife.Seconds())
}

// spent adds CPU time to a submitter's usage.
func (s *state) spent(by jobs.KeyID, cpu time.Duration, now time.Time) {
	if _, known := s.usage[by]; !known && len(s.usage) >= maxUsage {
		s.forgetUsage(now)
	}
	had := s.usage[by].value(now)
	s.usage[by] = usage{cpu: time.Duration(had*float64(time.Second)) + cpu, at: now}
}

// forgetUsage forgets the submitter who got least.
func (s *state) forgetUsage(now time.Time) {
	var least jobs.KeyID
	value := math.Inf(1)
	for id, u := range s.usage {
		if v := u.value(now); v < value {
			least, value = id, v
		}
	}
	delete(s.usage, least)
}

// inTurn returns the shards that pass, those first whose submitter got the least CPU time here, then the
// oldest job's.
func (s *state) inTurn(now time.Time, pass func(*shard) bool) []*shard {
	var chosen []*shard
	used := map[jobs.KeyID]float64{}
	for _, sh := range s.shards {
		if pass(sh) {
			chosen = append(chosen, sh)
			by := sh.job.Manifest.Submitter
			used[by] = s.usage[by].value(now)
		}
	}
	slices.SortFunc(chosen, func(a, b *shard) int {
		m, n := a.job.Manifest, b.job.Manifest
		return cmp.Or(cmp.Compare(used[m.Submitter], used[n.Submitter]), m.Created.Compare(n.Created),
			jobs.Digest(a.id.Job).Compare(jobs.Digest(b.id.Job)), cmp.Compare(a.id.Shard, b.id.Shard))
	})
	return chosen
}

// held lists the shard's bundles as runs.
func (s *shard) held() []steward.Run {
	numbers := make([]uint64, 0, len(s.bundles))
	for n := range s.bundles {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var runs []steward.Run
	for _, n := range numbers {
		attempt := s.bundles[n].attempt
		if last := len(runs) - 1; last >= 0 && runs[last].First+uint64(runs[last].Count) == n && runs[last].Attempt == attempt {
			runs[last].Count++
			continue
		}
		runs = append(runs, steward.Run{First: n, Count: 1, Attempt: attempt})
	}
	return runs
}

// discard ends the holding of a bundle, with the outcomes that are in no finished part.
func (s *state) discard(b *bundle) {
	b.dropped = true
	s.backlog -= b.ended.bytes
	b.ended.lose(b)
	delete(b.shard.bundles, b.number)
	b.shard.changed = true
	m := b.shard.job.Manifest
	maps.DeleteFunc(b.shard.hints, func(unit uint64, _ []*records.Note) bool { return m.BundleOf(unit) == b.number })
}

// settle lets go of a finished part that is kept, or is not wanted; with the last one of a bundle whose units
// all ended the bundle is no longer held.
func (s *state) settle(p *part) {
	s.backlog -= p.bytes
	b := p.bundle
	if b.parts--; b.parts == 0 && b.open == 0 && !b.dropped {
		s.discard(b)
	}
}

// giveBack stops the units of a shard's unfinished bundles and holds those no longer. Finished parts stay.
func (s *state) giveBack(sh *shard, cause error) {
	sh.queue = nil
	for _, b := range sh.bundles {
		if b.open > 0 {
			s.discard(b)
		}
	}
	s.cancelDropped(cause)
}

// drop gives one bundle back, unless it is finished.
func (s *state) drop(sh *shard, number uint64) { s.dropFor(sh, number, errDropped) }

// dropFor is drop with another cause.
func (s *state) dropFor(sh *shard, number uint64, cause error) {
	b := sh.bundles[number]
	if b == nil || b.open == 0 {
		return
	}
	s.discard(b)
	sh.queue = slices.DeleteFunc(sh.queue, func(t task) bool { return t.bundle == b })
	s.cancelDropped(cause)
}

// requeue puts units that a slot did not run before those that wait, unless they are no longer held.
func (s *state) requeue(sh *shard, tasks []task) {
	tasks = slices.DeleteFunc(tasks, func(t task) bool { return t.bundle.dropped })
	sh.queue = append(tasks, sh.queue...)
}

// cancelDropped stops the units whose bundles are no longer held, and lets none of them begin.
func (s *state) cancelDropped(cause error) {
	for r := range s.running {
		s.requeue(r.shard, r.left())
		if r.current.Load().bundle.dropped {
			r.cancel(cause)
		}
	}
}

// end forgets a shard whose job has ended. What is being flushed or pushed of it finds no shard any more.
func (s *state) end(sh *shard) {
	delete(s.shards, sh.id)
	s.giveBack(sh, errDead)
	s.forget(sh)
	s.finished = slices.DeleteFunc(s.finished, func(p *part) bool {
		if p.bundle.shard == sh {
			s.bytes -= p.bytes
			s.settle(p)
		}
		return p.bundle.shard == sh
	})
	for id, p := range s.reports {
		if p.shard == sh.id {
			s.release(p)
			delete(s.reports, id)
		}
	}
	if p := s.programs[sh.id.Job]; p != nil {
		if p.loading {
			p.cancel()
		}
		delete(s.programs, sh.id.Job)
	}
}
