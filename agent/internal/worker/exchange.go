package worker

import (
	"context"
	"maps"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	exchangeTimeout = 10 * time.Second
	// failuresBeforeNext is how many exchanges may fail before the worker turns to the next steward.
	failuresBeforeNext = 2
	// maxQueue bounds the units that a steward can make wait here; one bundle more is taken.
	maxQueue = 1 << 16
)

// exchange asks the first reachable steward of a shard.
func (w *Worker) exchange(ctx context.Context, s *shard, wants bool, now time.Time) {
	last := s.askedAt
	s.askedAt = now
	stewards := peer.Stewards(s.id, w.o.Members())
	if len(stewards) == 0 {
		s.retryAt = now.Add(time.Second)
		return
	}
	to := s.choose(stewards, now)
	req := w.request(s, wants, now)
	toldNotes := tell(req, w.untold(s, to.ID, now))
	told := s.changed
	s.asking, s.wanting, s.changed = true, wants, false
	s.spokenTo(to.ID, last, now)
	w.spawn(func() event {
		failpoint.Hit("worker.exchanging")
		reply, err := w.call(ctx, s.id, to, req)
		failpoint.Hit("worker.exchanged")
		return func(at time.Time) {
			s.asking = false
			switch {
			case w.shards[s.id] != s:
				// The job has ended meanwhile.
			case err != nil:
				s.changed = s.changed || told
				w.unanswered(ctx, s, err, at)
			case reply.GetNotSteward():
				s.changed = s.changed || told
				s.turnFrom(to.ID, at.Add(w.o.Lease.Period/3)) // it may just not know yet
				s.retryAt = at.Add(time.Second)
			default:
				s.answered, s.failures = now.Round(0), 0
				toldNotes(to.ID, at)
				w.answered(s, reply, wants, at)
			}
		}
	})
}

func (w *Worker) request(s *shard, wants bool, now time.Time) *gridv1.ExchangeRequest {
	req := &gridv1.ExchangeRequest{Shard: records.ShardToProto(s.id)}
	for _, r := range s.held() {
		req.Held = append(req.Held, &gridv1.Run{First: r.First, Count: r.Count, Attempt: r.Attempt})
	}
	if wants {
		p := w.programs[s.id.Job]
		req.Slots = uint32(w.wanted(s, p, now))
		if p != nil {
			req.UnitUs = uint64(p.unit.Microseconds())
		}
	}
	return req
}

// call makes one exchange. A steward that lacks the manifest is given it and asked again.
func (w *Worker) call(ctx context.Context, id jobs.ShardID, to peer.Member, req *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
	if to.ID == w.o.Self {
		return w.o.Steward.Local(req)
	}
	conn, err := w.o.Dial(to.Address, to.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	client := gridv1.NewStewardClient(conn)
	reply, err := client.Exchange(ctx, req)
	if jobs.KindOf(err) != jobs.NotFound {
		return reply, err
	}
	w.log.Info("giving a steward the manifest", "shard", id, "steward", to.ID)
	if _, err := w.o.Store.Sync(ctx, conn, records.Scope{}, records.Offering); err != nil {
		return nil, err
	}
	return client.Exchange(ctx, req)
}

// unanswered spaces the next exchanges and turns to the next steward.
func (w *Worker) unanswered(ctx context.Context, s *shard, err error, now time.Time) {
	if ctx.Err() != nil {
		return
	}
	w.log.Info("steward does not answer", "shard", s.id, "steward", s.lender, "err", err)
	s.silence = brief(err)
	if s.failures++; s.failures%failuresBeforeNext == 0 {
		s.turnFrom(s.lender, now.Add(w.o.Lease.TTL))
	}
	s.retryAt = now.Add(min(askEvery, time.Second<<min(s.failures/(failuresBeforeNext*peer.Copies), 4)))
}

// choose returns the first of a shard's stewards that is not passed over. All agents come to the same one, if they
// reach it: two who lend the same shard lend units twice.
func (s *shard) choose(stewards []peer.Member, now time.Time) peer.Member {
	maps.DeleteFunc(s.skip, func(_ jobs.AgentID, until time.Time) bool { return now.After(until) })
	for _, m := range stewards {
		if _, skipped := s.skip[m.ID]; !skipped {
			return m
		}
	}
	clear(s.skip)
	return stewards[0]
}

// turnFrom passes over a steward for a while. Then it is tried again.
func (s *shard) turnFrom(id jobs.AgentID, until time.Time) {
	if s.skip == nil {
		s.skip = map[jobs.AgentID]time.Time{}
	}
	s.skip[id] = later(s.skip[id], until)
}

// answered takes a steward's reply. Its numbers are checked as any peer's are.
func (w *Worker) answered(s *shard, reply *gridv1.ExchangeReply, wanted bool, now time.Time) {
	s.open = reply.GetOpen()
	budget := uint64(maxHeld)
	for _, r := range reply.GetDrop() {
		n := min(budget, uint64(r.GetCount()))
		budget -= n
		for i := range n {
			w.drop(s, r.GetFirst()+i)
		}
	}
	got, waiting := 0, len(s.queue)
	for _, r := range reply.GetLend() {
		got += w.lent(s, r, maxHeld-len(s.bundles))
	}
	w.heard(s, reply)
	if got > 0 {
		got -= w.passOver(s, waiting)
	}
	if got > 0 {
		s.empty = 0
	} else if wanted {
		s.askAt = now.Add(s.pause(reply))
		if s.wokenAt.After(s.askedAt) {
			s.askAt = earlier(s.askAt, s.wokenAt) // the answer may be older than the wake
		}
	}
	w.doubt(s, reply, now)
}

// pause returns how long to ask for nothing after a steward had nothing.
func (s *shard) pause(reply *gridv1.ExchangeReply) time.Duration {
	if reply.GetOpen() == 0 {
		s.empty++
		return min(askEmpty, askEvery<<min(s.empty-1, 4))
	}
	if len(s.bundles) >= steward.MaxLease/2 {
		return tellAfter // no agent is lent more than MaxLease, and what is held now is soon kept
	}
	return max(time.Second, min(askEvery, time.Duration(reply.GetAgainMs())*time.Millisecond))
}

// lent queues the units of a run, at most so many bundles, and returns how many were new.
func (w *Worker) lent(s *shard, r *gridv1.Run, room int) int {
	m := s.job.Manifest
	first, n := m.ShardRange(s.id.Shard)
	count := uint64(r.GetCount())
	if r.GetFirst() < first || r.GetFirst()-first > n || count > n-(r.GetFirst()-first) || r.GetAttempt() > record.MaxAttempt {
		w.log.Warn("steward lent what is not in its shard", "shard", s.id, "steward", s.lender,
			"first", r.GetFirst(), "count", count, "attempt", r.GetAttempt())
		return 0
	}
	got := 0
	for number := r.GetFirst(); number < r.GetFirst()+count && got < room && len(s.queue) < maxQueue; number++ {
		if s.bundles[number] != nil {
			continue
		}
		b := &bundle{shard: s, number: number, attempt: r.GetAttempt()}
		from, units := m.BundleUnits(number)
		for _, u := range unitsOf(from, units, r.GetUnits()) {
			s.queue = append(s.queue, task{b, u})
			b.open++
		}
		if b.open > 0 {
			s.bundles[number] = b
			got++
		}
	}
	return got
}

// unitsOf picks the named ones of n units; no names mean all. Names are in order; one that is not, or that
// names no unit of these, is passed over.
func unitsOf(first, n uint64, named []uint64) []uint64 {
	units := make([]uint64, 0, n)
	if len(named) == 0 {
		for u := first; u < first+n; u++ {
			units = append(units, u)
		}
		return units
	}
	next := first
	for _, u := range named {
		if u >= next && u < first+n {
			units = append(units, u)
			next = u + 1
		}
	}
	return units
}
