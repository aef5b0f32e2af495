package worker

import (
	"context"
	"math"
	"slices"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

const (
	// flushAfter and flushBundles: everything that finished within it goes into one report.
	flushAfter   = 250 * time.Millisecond
	flushBundles = 256
	// flushBytes bounds a pack, unless one bundle alone is larger.
	flushBytes = 8 << 20
	// reportBytes bounds a report, in bytes as counted by unitBytes: below record.MaxPayload, and above what
	// the largest bundle takes without texts.
	reportBytes = 3 << 19
	// unitBytes is what a unit takes in a report, without a failure's text, at most.
	unitBytes = 64
	// maxBacklog bounds the bytes that wait to be packed or kept; above it no unit starts.
	maxBacklog = 256 << 20
	// lowWater is how much queued work is left when the worker asks for more, so that slots never wait
	// for an answer.
	lowWater = time.Second
	// restAfterFault is how long a job rests on this agent after a fault of the agent's own.
	restAfterFault = 30 * time.Second
	// askEvery spaces questions to stewards that had nothing or did not answer.
	askEvery = steward.Period
	// minAsk spaces exchanges for one shard.
	minAsk = 20 * time.Millisecond
	// usageHalfLife is how fast the CPU time that a submitter got here is forgotten in fair share.
	usageHalfLife = 24 * time.Hour
)

// state is what the worker's goroutine knows; nobody else touches it.
type state struct {
	shards   map[jobs.ShardID]*shard
	programs map[jobs.JobID]*program
	running  int
	finished []*bundle
	oldest   time.Time // when the oldest of finished was finished
	bytes    int       // of outcomes that are finished and not yet journalled
	flushing bool
	backlog  int // bytes of finished, being flushed, and not yet kept
	reports  map[jobs.Digest]*pending
	pushing  map[jobs.AgentID]bool
	retry    map[jobs.AgentID]time.Time // no push to it before
	usage    map[jobs.KeyID]*usage
	counter  uint32
}

func newState() state {
	return state{
		shards: map[jobs.ShardID]*shard{}, programs: map[jobs.JobID]*program{},
		reports: map[jobs.Digest]*pending{}, pushing: map[jobs.AgentID]bool{}, retry: map[jobs.AgentID]time.Time{},
		usage: map[jobs.KeyID]*usage{},
	}
}

// shard is a shard that this agent asks for, and what it holds of it.
type shard struct {
	id       jobs.ShardID
	job      records.Job
	bundles  map[uint64]*bundle // held
	queue    []task             // units not started, in order
	running  map[jobs.UnitID]context.CancelCauseFunc
	asking   bool
	askAt    time.Time // not before, unless woken
	askedAt  time.Time // last exchange that was started
	answered time.Time // last exchange that a steward answered
	lender   jobs.AgentID
	failures int  // dials in a row that failed at the present choice of steward
	skip     int  // stewards passed over because they do not answer
	changed  bool // held bundles ended since the last exchange
}

// bundle is a bundle that this agent holds.
type bundle struct {
	shard   *shard
	number  uint64
	attempt uint32
	open    int // units not ended
	dropped bool
	units   []record.UnitReport
	packed  []record.UnitOutcome
	bytes   int // of packed
	size    int // of units in a report, about
}

type task struct {
	bundle *bundle
	unit   uint64
}

// program is what a job needs on this agent before a unit can start.
type program struct {
	ready    *executor.Program
	identity jobs.Digest  // of the job, for its units' seeds
	failure  jobs.Failure // of kind input: every unit fails with it
	loading  bool
	unit     time.Duration // measured time of one unit, moving average; 0: none has ended
}

// pending is a report of this agent that not enough stewards have kept.
type pending struct {
	offer   records.Offer
	shard   jobs.ShardID
	kept    map[jobs.AgentID]bool
	bundles []*bundle
	bytes   int
	mending bool
}

type usage struct {
	cpu time.Duration
	at  time.Time
}

func (u *usage) value(now time.Time) float64 {
	return u.cpu.Seconds() * math.Exp2(-now.Sub(u.at).Seconds()/usageHalfLife.Seconds())
}

// spent adds CPU time to a submitter's usage.
func (s *state) spent(by jobs.KeyID, cpu time.Duration, now time.Time) {
	u := s.usage[by]
	if u == nil {
		u = &usage{at: now}
		s.usage[by] = u
	}
	u.cpu = time.Duration(u.value(now)*float64(time.Second)) + cpu
	u.at = now
}

// cancel stops a shard's units and forgets what is queued. Finished bundles stay.
func (w *Worker) cancel(s *shard, cause error) {
	s.queue = nil
	for _, cancel := range s.running {
		cancel(cause)
	}
	for _, b := range s.bundles {
		if b.open > 0 {
			w.letGo(b)
		}
	}
}

// letGo drops a bundle that is not finished, with the outcomes that it has.
func (w *Worker) letGo(b *bundle) {
	b.dropped = true
	w.backlog -= b.bytes
	delete(b.shard.bundles, b.number)
	b.shard.changed = true
}

// drop stops the units of one bundle, unless it is finished.
func (w *Worker) drop(s *shard, number uint64) {
	b := s.bundles[number]
	if b == nil || b.open == 0 {
		return
	}
	w.letGo(b)
	s.queue = slices.DeleteFunc(s.queue, func(t task) bool { return t.bundle == b })
	first, n := s.job.Manifest.BundleUnits(number)
	for u := first; u < first+n; u++ {
		if cancel := s.running[jobs.UnitID{Job: s.id.Job, Unit: u}]; cancel != nil {
			cancel(errDropped)
		}
	}
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

// idle reports whether nothing of the shard is held here.
func (s *shard) idle() bool { return len(s.bundles) == 0 && len(s.running) == 0 }

// stewardsOf returns the shard's stewards, those first that answer.
func (w *Worker) stewardsOf(s *shard) []peer.Member { return peer.Stewards(s.id, w.o.Members()) }
