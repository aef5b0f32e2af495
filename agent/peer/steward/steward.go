package steward

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxWake bounds the members woken for one job at once.
	maxWake = 32
	// wakePeriod is how often bundles that came back wake others at most.
	wakePeriod = time.Second
	// maxHeld bounds the bundles, and the runs, that one agent may hold of a shard.
	maxHeld = 4 * MaxLease
	// maxUnitUs bounds what an agent says of the time of a unit, in microseconds: the longest timeout.
	maxUnitUs = uint64(manifest.MaxTimeout / time.Microsecond)
)

// Options say what a Steward needs.
type Options struct {
	Store   *records.Store
	Self    jobs.AgentID
	Members func() []peer.Member
	Wake    func(to []jobs.AgentID, job jobs.JobID)
	Lease   Lease // zero: the defaults
	// Learn takes over the records that another steward of a shard has of it, and returns the notes of checkpoints that it
	// was told of, as NotesOf reads them.
	Learn func(ctx context.Context, shard jobs.ShardID, from peer.Member) ([]*gridv1.Record, error)
	// Blobs returns the copies of a shard's blobs as this agent last counted them; false: it did not. nil: it never does.
	Blobs func(jobs.ShardID) (peer.BlobCounts, bool)
	Log   *slog.Logger
}

// Steward lends the shards that placement gives to this agent. It answers Steward calls.
type Steward struct {
	gridv1.UnimplementedStewardServer
	o   Options
	log *slog.Logger

	mu     sync.Mutex // guards the lenders; taken before the store's own lock
	shards map[jobs.ShardID]*lender
	notes  notebook
	closed bool
	awake  time.Time // when Watch last looked, by the wall clock; zero: it did not
	slept  bool      // since then

	life  context.Context // ends with Close
	end   context.CancelFunc
	tasks sync.WaitGroup
}

// New returns a steward with nothing lent.
func New(o Options) *Steward {
	o.Lease = o.Lease.OrDefault()
	s := &Steward{
		o: o, log: o.Log.With("component", "steward"), shards: map[jobs.ShardID]*lender{}, notes: newNotebook(),
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// Close ends what the steward does by itself and waits for it. Twice is harmless.
func (s *Steward) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.tasks.Wait()
}

// spawn runs f in a goroutine that Close waits for. The caller holds the lock.
func (s *Steward) spawn(f func()) {
	if !s.closed {
		s.tasks.Go(f)
	}
}

// Seeded opens the lending of a job that the coordinator has just handed over, and wakes idle members if
// this agent is the first steward of one of its shards.
func (s *Steward) Seeded(job jobs.JobID) {
	s.mu.Lock()
	for shard, l := range s.shards {
		if shard.Job == job {
			l.opens, l.until = time.Time{}, time.Time{}
		}
	}
	s.mu.Unlock()
	j, err := s.o.Store.Job(job)
	if err != nil {
		return // it expired or was forgotten meanwhile
	}
	members := s.o.Members()
	for shard := range j.Manifest.Shards() {
		stewards := peer.Stewards(jobs.ShardID{Job: job, Shard: shard}, members)
		if len(stewards) > 0 && stewards[0].ID == s.o.Self {
			s.wake(job, members)
			return
		}
	}
}

// wake tells members that could run units, a random choice of them where there are many.
func (s *Steward) wake(job jobs.JobID, members []peer.Member) {
	var to []jobs.AgentID
	for _, m := range members {
		if m.Role == peer.Agent && m.Cores > 0 {
			to = append(to, m.ID)
		}
	}
	rand.Shuffle(len(to), func(i, j int) { to[i], to[j] = to[j], to[i] })
	s.o.Wake(to[:min(len(to), maxWake)], job)
}

// wakeForWaiting wakes others if bundles of a shard wait to be lent, at most once in wakePeriod: what falls
// into that time is done when it is over. The caller holds the lock.
func (s *Steward) wakeForWaiting(shard jobs.ShardID, l *lender, now time.Time) {
	if len(l.waiting) == 0 || l.waking {
		return
	}
	l.waking = true
	s.spawn(func() {
		select {
		case <-s.life.Done():
			return
		case <-time.After(l.woke.Add(wakePeriod).Sub(now)):
		}
		s.mu.Lock()
		l.waking = false
		waits := len(l.waiting) > 0 && s.shards[shard] == l
		if waits {
			l.woke = time.Now()
		}
		s.mu.Unlock()
		if waits {
			s.wake(shard.Job, s.o.Members())
		}
	})
}

// Lost ends the leases of an agent that left the pool or no longer answers.
func (s *Steward) Lost(id jobs.AgentID) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	for shard, l := range s.shards {
		l.lost(id, now)
		s.wakeForWaiting(shard, l, now)
	}
}

// Lessees returns the agents that hold leases here.
func (s *Steward) Lessees() map[jobs.AgentID]bool {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[jobs.AgentID]bool{}
	for _, l := range s.shards {
		l.expire(now)
		for _, id := range l.holders() {
			out[id] = true
		}
	}
	return out
}

// Circle returns whom this agent should tell when a job ends: the lessees of its lenders, and the other
// stewards of the shards that it stewards, whose lessees it does not know.
func (s *Steward) Circle(job records.Job) []peer.Member {
	members := s.o.Members()
	told := map[jobs.AgentID]bool{}
	for n := range job.Manifest.Shards() {
		shard := jobs.ShardID{Job: job.ID, Shard: n}
		stewards := peer.Stewards(shard, members)
		if !slices.ContainsFunc(stewards, func(m peer.Member) bool { return m.ID == s.o.Self }) {
			continue
		}
		for _, m := range stewards {
			told[m.ID] = true
		}
		s.mu.Lock()
		if l := s.shards[shard]; l != nil {
			for id := range l.lessees {
				told[id] = true
			}
		}
		s.mu.Unlock()
	}
	var circle []peer.Member
	for _, m := range members {
		if told[m.ID] && m.ID != s.o.Self {
			circle = append(circle, m)
		}
	}
	return circle
}

// Sweep drops the lenders of jobs of which nothing runs any more.
func (s *Steward) Sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for shard := range s.shards {
		if s.o.Store.Runnable(shard.Job) != nil {
			delete(s.shards, shard)
		}
	}
	s.notes.dropAll(func(shard jobs.ShardID) bool { return s.o.Store.Runnable(shard.Job) != nil })
}

// Exchange renews and ends the caller's leases and lends it more.
func (s *Steward) Exchange(ctx context.Context, req *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
	who, err := rpc.Allow(ctx, gridv1.Steward_Exchange_FullMethodName)
	if err != nil {
		return nil, err
	}
	return s.exchange(who.ID, req)
}

// Local is Exchange for this agent itself, without a network.
func (s *Steward) Local(req *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
	return s.exchange(s.o.Self, req)
}

func (s *Steward) exchange(who jobs.AgentID, req *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
	scope, err := records.ScopeFromProto(req.GetShard())
	if err != nil {
		return nil, err
	}
	job, err := s.o.Store.Job(scope.Shard.Job)
	if err != nil {
		return nil, err
	}
	if n := job.Manifest.Shards(); scope.Shard.Shard >= n {
		return nil, jobs.Errorf(jobs.Invalid, "exchange about shard %d, the job has %d", scope.Shard.Shard, n)
	}
	ask := Ask{Agent: who, Slots: req.GetSlots(), UnitTime: time.Duration(min(req.GetUnitUs(), maxUnitUs)) * time.Microsecond}
	if ask.Held, err = heldFromProto(req.GetHeld()); err != nil {
		return nil, err
	}
	reply := &gridv1.ExchangeReply{AgainMs: uint32(s.o.Lease.Period.Milliseconds())}
	members := s.o.Members()
	at := place{scope.Shard, peer.Stewards(scope.Shard, members)}
	if !at.keptBy(s.o.Self) {
		s.forget(scope.Shard)
		reply.NotSteward = true
		return reply, nil
	}
	ask.Others = othersWork(members, who)
	b := s.vet(at.shard, job.Manifest, who, req.GetCheckpoints())
	if req.GetAside() {
		return reply, s.aside(job, at, who, b, reply)
	}
	err = s.lend(job, at, ask, b, reply)
	failpoint.Hit("steward.lent")
	return reply, err
}

// forget drops the leases of a shard that others steward now: should it come back, they may have lent it.
func (s *Steward) forget(shard jobs.ShardID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.shards, shard)
	s.notes.dropShard(shard, func(uint64) bool { return true })
}

// place is a shard and who stewards it now.
type place struct {
	shard    jobs.ShardID
	stewards []peer.Member
}

func (p place) keptBy(id jobs.AgentID) bool {
	return slices.ContainsFunc(p.stewards, func(m peer.Member) bool { return m.ID == id })
}

// lend runs the exchange on the shard's lender and writes what comes of it into the reply.
func (s *Steward) lend(job records.Job, at place, ask Ask, brought brought, reply *gridv1.ExchangeReply) error {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beat(now)
	l := s.lender(job, at, now)
	s.learn(at, l, now)
	err := s.o.Store.WithLedger(at.shard, func(led *ledger.Ledger) {
		lend, drop := l.exchange(ask, led, now)
		reply.Lend, reply.Drop = runsToProto(lend), runsToProto(drop)
		brought.lent = lend
		reply.Open = led.Counts(now).Open
		s.notes.prune(at.shard, led, now)
		reply.Settled = s.takeNotes(l, job.Manifest, led, ask.Agent, brought, false, now)
		reply.Checkpoints = s.notes.of(at.shard, job.Manifest, lend)
	})
	if wait := l.wait(now); wait > 0 {
		reply.AgainMs = uint32(wait.Milliseconds()) + 1
		return err
	}
	s.wakeForWaiting(at.shard, l, now)
	return err
}

// lender returns the shard's lender. One that is new listens first, unless the coordinator has just handed the job
// over: then there is nothing to hear. The caller holds the lock.
func (s *Steward) lender(job records.Job, at place, now time.Time) *lender {
	l := s.shards[at.shard]
	if l != nil {
		return l
	}
	opens := now.Add(s.o.Lease.Period)
	fresh := now.Round(0).Sub(job.Fresh) < s.o.Lease.Period // by the wall clock: the machine may have slept
	if fresh {
		opens = now
	}
	l = newLender(job.Manifest, at.shard.Shard, opens, s.o.Lease.TTL)
	l.sole = fresh
	for _, m := range at.stewards {
		if fresh {
			l.heard[m.ID] = time.Time{}
		}
	}
	s.shards[at.shard] = l
	return l
}

// othersWork reports whether an agent other than who offers cores.
func othersWork(members []peer.Member, who jobs.AgentID) bool {
	for _, m := range members {
		if m.Role == peer.Agent && m.Cores > 0 && m.ID != who {
			return true
		}
	}
	return false
}

// Summary counts a shard, its blobs and what it has cost, as this agent's records have it.
func (s *Steward) Summary(ctx context.Context, req *gridv1.SummaryRequest) (*gridv1.SummaryReply, error) {
	who, err := rpc.Allow(ctx, gridv1.Steward_Summary_FullMethodName)
	if err != nil {
		return nil, err
	}
	scope, err := records.ScopeFromProto(req.GetShard())
	if err != nil {
		return nil, err
	}
	job, err := s.o.Store.Job(scope.Shard.Job)
	if err != nil {
		return nil, err
	}
	if who.Role == peer.Submitter && who.ID != job.Manifest.Submitter {
		return nil, jobs.Errorf(jobs.Denied, "job %s is another submitter's", job.ID.Short())
	}
	now := time.Now()
	reply := &gridv1.SummaryReply{Stewards: uint32(len(peer.Stewards(scope.Shard, s.o.Members())))}
	err = s.o.Store.WithLedger(scope.Shard, func(led *ledger.Ledger) {
		countsToProto(led.Counts(now), reply)
		reply.Account = AccountToProto(led.Account())
	})
	if err != nil {
		return nil, err
	}
	if s.o.Blobs != nil {
		if b, ok := s.o.Blobs(scope.Shard); ok {
			reply.Blobs = &gridv1.BlobCounts{Enough: b.Enough, Few: b.Few, None: b.None}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.shards[scope.Shard]; l != nil {
		l.expire(now)
		reply.Lent = min(reply.Open, uint64(len(l.lent))*uint64(job.Manifest.Bundle))
		for _, id := range l.holders() {
			reply.Lessees = append(reply.Lessees, id[:])
		}
		if most := min(int(req.GetLentUnits()), MaxLentUnits); most > 0 {
			err = s.o.Store.WithLedger(scope.Shard, func(led *ledger.Ledger) { reply.LentUnits = s.lentUnits(l, led, scope.Shard, most, now) })
		}
	}
	return reply, err
}

func countsToProto(c ledger.Counts, r *gridv1.SummaryReply) {
	r.Open, r.Accepted, r.Failed, r.Conflict = c.Open, c.Accepted, c.Failed, c.Conflict
	r.Differs, r.Sealed, r.Dead = c.Differs, c.Sealed, c.Dead
	r.UsefulCpuUs, r.CpuUs = uint64(c.UsefulCPU.Microseconds()), uint64(c.CPU.Microseconds())
}

// heldFromProto reads what an agent says it holds, bounded.
func heldFromProto(list []*gridv1.Run) ([]Run, error) {
	var held []Run
	total := uint64(0)
	for _, p := range list {
		if total += max(1, uint64(p.GetCount())); total > maxHeld {
			return nil, jobs.Errorf(jobs.Invalid, "agent holds more than %d bundles of a shard", maxHeld)
		}
		held = append(held, Run{First: p.GetFirst(), Count: p.GetCount(), Attempt: p.GetAttempt()})
	}
	return held, nil
}

func runsToProto(runs []Run) []*gridv1.Run {
	var out []*gridv1.Run
	for _, r := range runs {
		out = append(out, &gridv1.Run{First: r.First, Count: r.Count, Attempt: r.Attempt, Units: r.Units})
	}
	return out
}
