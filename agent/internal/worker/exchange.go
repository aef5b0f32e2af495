package worker

import (
	"context"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	exchangeTimeout = 10 * time.Second
	// dialsBeforeNext is how many dials may fail before the worker turns to the next steward.
	dialsBeforeNext = 2
)

// exchange asks the first reachable steward of a shard.
func (w *Worker) exchange(ctx context.Context, s *shard, wants bool, now time.Time) {
	stewards := w.stewardsOf(s)
	if len(stewards) == 0 {
		// Nobody can be asked, such as just after the start; whoever comes is told what is held.
		s.changed, s.askedAt, s.askAt = false, now, now.Add(time.Second)
		return
	}
	to := stewards[s.skip%len(stewards)]
	req := &gridv1.ExchangeRequest{Shard: records.ShardToProto(s.id)}
	for _, r := range s.held() {
		req.Held = append(req.Held, &gridv1.Run{First: r.First, Count: r.Count, Attempt: r.Attempt})
	}
	if wants {
		req.Slots = uint32(w.o.Slots)
		if p := w.programs[s.id.Job]; p != nil {
			req.UnitUs = uint64(p.unit.Microseconds())
		}
	}
	s.asking, s.changed, s.askedAt, s.lender = true, false, now, to.ID
	w.spawn(func() event {
		reply, err := w.call(ctx, s, to, req)
		return func(now time.Time) {
			s.asking = false
			if err != nil {
				w.unanswered(ctx, s, to, err, now)
				return
			}
			w.answered(s, reply, wants, now)
		}
	})
}

// call makes one exchange. A steward that lacks the manifest is given it and asked again.
func (w *Worker) call(ctx context.Context, s *shard, to peer.Member, req *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
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
	if _, err := w.o.Store.Sync(ctx, conn, records.Scope{}, records.Offering); err != nil {
		return nil, err
	}
	return client.Exchange(ctx, req)
}

func (w *Worker) unanswered(ctx context.Context, s *shard, to peer.Member, err error, now time.Time) {
	if ctx.Err() != nil {
		return
	}
	w.log.Info("steward does not answer", "shard", s.id, "steward", to.ID, "err", err)
	s.failures++
	if s.failures >= dialsBeforeNext {
		s.failures = 0
		s.skip++
	}
	s.changed = false
	s.askAt = now.Add(time.Second)
}

func (w *Worker) answered(s *shard, reply *gridv1.ExchangeReply, wanted bool, now time.Time) {
	s.failures, s.answered = 0, now
	if reply.GetNotSteward() {
		s.skip++
		s.askAt = now.Add(time.Second)
		return
	}
	for _, r := range reply.GetDrop() {
		for b := r.GetFirst(); b-r.GetFirst() < uint64(r.GetCount()) && b-r.GetFirst() < steward.MaxLease; b++ {
			w.drop(s, b)
		}
	}
	got := 0
	for _, r := range reply.GetLend() {
		got += w.lent(s, r)
	}
	if wanted && got == 0 {
		s.askAt = now.Add(max(time.Second, min(askEvery, time.Duration(reply.GetAgainMs())*time.Millisecond)))
	}
}

// lent queues the units of a run and returns how many bundles were new. A steward's numbers are checked as
// any peer's are.
func (w *Worker) lent(s *shard, r *gridv1.Run) int {
	m := s.job.Manifest
	first, n := m.ShardRange(s.id.Shard)
	count := uint64(min(r.GetCount(), steward.MaxLease))
	if r.GetFirst() < first || r.GetFirst()-first > n || count > n-(r.GetFirst()-first) {
		w.log.Warn("steward lent bundles that are not in its shard", "shard", s.id, "first", r.GetFirst(), "count", count)
		return 0
	}
	got := 0
	for number := r.GetFirst(); number < r.GetFirst()+count; number++ {
		if s.bundles[number] != nil {
			continue
		}
		b := &bundle{shard: s, number: number, attempt: r.GetAttempt()}
		for _, u := range unitsOf(m.BundleUnits(number))(r.GetUnits()) {
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

// unitsOf returns a function that picks the named units of a bundle; no names mean all.
func unitsOf(first, n uint64) func(named []uint64) []uint64 {
	return func(named []uint64) []uint64 {
		var units []uint64
		if len(named) == 0 {
			for u := first; u < first+n; u++ {
				units = append(units, u)
			}
			return units
		}
		last := first
		for _, u := range named {
			if u >= last && u < first+n {
				units = append(units, u)
				last = u + 1
			}
		}
		return units
	}
}
