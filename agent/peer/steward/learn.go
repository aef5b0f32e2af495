package steward

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// learnTries is how often a co-steward is asked before the shard is lent without its word, and learnAgain how
	// far the tries are apart.
	learnTries = 2
	learnAgain = time.Second
)

// learner is what a lender has heard from the other stewards of its shard.
type learner struct {
	heard map[jobs.AgentID]time.Time // compared with; or, with a time, not to be asked again before
	busy  bool                       // some are asked now
	until time.Time                  // while busy nothing is lent before
}

// wait is how long nothing is lent yet: the lender listens, or learns what others know.
func (l *lender) wait(now time.Time) time.Duration {
	wait := l.opens.Sub(now)
	if l.busy {
		wait = max(wait, min(learnAgain, l.until.Sub(now)))
	}
	return wait
}

// unheard returns the stewards that the lender has to hear from, and whether there are some that it never asked.
// Those who are stewards no more are forgotten: should they come back they know more.
func (l *lender) unheard(stewards []peer.Member, self jobs.AgentID, now time.Time) (ask []peer.Member, never bool) {
	maps.DeleteFunc(l.heard, func(id jobs.AgentID, _ time.Time) bool {
		return !slices.ContainsFunc(stewards, func(m peer.Member) bool { return m.ID == id })
	})
	for _, m := range stewards {
		again, asked := l.heard[m.ID]
		if m.ID != self && (!asked || !again.IsZero() && !now.Before(again)) {
			ask = append(ask, m)
			never = never || !asked
		}
	}
	return ask, never
}

// learn starts to compare a shard with stewards that the lender has not heard from. Meanwhile nothing is lent: of
// a new lender for a period, in which it listens anyway, and a third at most, and else, where somebody became a
// steward of the shard or came back, for that third. The caller holds the lock.
func (s *Steward) learn(at place, l *lender, now time.Time) {
	ask, never := l.unheard(at.stewards, s.o.Self, now)
	if l.busy || len(ask) == 0 {
		return
	}
	patience := s.o.Lease.Period / 3
	if now.Before(l.opens) {
		patience += s.o.Lease.Period
	}
	l.busy, l.until = true, now
	if never {
		l.until = now.Add(patience)
	}
	s.spawn(func() {
		ctx, cancel := context.WithTimeout(s.life, patience)
		defer cancel()
		var asked sync.WaitGroup
		for _, m := range ask {
			asked.Go(func() { s.learnFrom(ctx, at.shard, l, m) })
		}
		asked.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		l.busy = false
	})
}

// learnFrom compares with one steward. One that does not answer is asked again later: what it knows may be run
// twice, which is better than that nothing runs.
func (s *Steward) learnFrom(ctx context.Context, shard jobs.ShardID, l *lender, from peer.Member) {
	var notes []*gridv1.Record
	var err error
	for try := range learnTries {
		if try > 0 {
			select {
			case <-ctx.Done():
			case <-time.After(learnAgain):
			}
		}
		if notes, err = s.o.Learn(ctx, shard, from); err == nil || ctx.Err() != nil {
			break
		}
	}
	s.learnNotes(shard, from.ID, notes)
	var again time.Time
	if err != nil {
		s.log.Info("lending a shard without a co-steward's word", "shard", shard, "steward", from.ID, "err", err)
		again = time.Now().Add(s.o.Lease.Period)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.heard[from.ID] = again
}

// learnNotes keeps what another steward was told of open units: one that was restarted would else have their next agents
// go on from what it was told since.
func (s *Steward) learnNotes(shard jobs.ShardID, from jobs.AgentID, list []*gridv1.Record) {
	job, err := s.o.Store.Job(shard.Job)
	if err != nil {
		return // it expired or was forgotten meanwhile
	}
	for ; len(list) > 0; list = list[min(len(list), MaxNotes):] {
		b := s.vet(shard, job.Manifest, from, list)
		now := time.Now()
		s.mu.Lock()
		err := s.o.Store.WithLedger(shard, func(led *ledger.Ledger) {
			for _, n := range b.fresh {
				if led.Unit(n.Unit, now).Status == ledger.Open && n.Attempt == led.Attempt(job.Manifest.BundleOf(n.Unit)) {
					s.notes.add(n)
				}
			}
		})
		s.mu.Unlock()
		if err != nil {
			s.log.Info("cannot keep what another steward knows of checkpoints", "shard", shard, "steward", from, "err", err)
			return
		}
	}
}
