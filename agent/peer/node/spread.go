package node

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
)

// spreader compares records: what all know with one random peer, or a few after a start, reports with their shard's
// stewards. It does so about once a minute, and soon after the pool changed with stewards that are new to a shard: they listen for a
// while before they lend, and what they do not hear of until then is run again.
type spreader struct {
	node  *Node
	work  sync.WaitGroup // visits
	slots chan struct{}  // one for each visit at once

	mu     sync.Mutex // guards everything below
	busy   map[jobs.AgentID]bool
	missed bool // somebody was busy who should have been visited
	given  map[jobs.ShardID]map[jobs.AgentID]bool
}

// errand is what one visit compares.
type errand struct {
	scope records.Scope
	dir   records.Direction
}

func newSpreader(n *Node) *spreader {
	return &spreader{
		node: n, slots: make(chan struct{}, maxVisits), busy: map[jobs.AgentID]bool{},
		given: map[jobs.ShardID]map[jobs.AgentID]bool{},
	}
}

// Woke says that this machine has slept: it goes back into the pool, where it counts as gone, and asks for what others
// said meanwhile, at once.
func (n *Node) Woke() {
	select {
	case n.woke <- struct{}{}:
	default: // it will be anyway
	}
}

func (n *Node) keepSpreading(ctx context.Context) {
	s := newSpreader(n)
	defer s.work.Wait()
	round, soon := time.NewTimer(0), time.NewTimer(0)
	defer round.Stop()
	defer soon.Stop()
	due, joined := true, false // due: soon will fire
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.moved:
			if !due {
				due = true
				soon.Reset(n.o.OfferWithin/2 + rand.N(n.o.OfferWithin/2))
			}
		case <-n.woke:
			joined = false // what was said meanwhile is asked for as after a start
			s.work.Go(func() { n.rejoin(ctx) })
			round.Reset(0)
		case <-soon.C:
			due = false
			n.see()
			s.visit(ctx, s.errands(false))
		case <-round.C:
			wait := s.round(ctx, !joined)
			if wait == spreadEvery && !joined {
				wait, joined = settleTime, true
			}
			round.Reset(jitter(wait))
		}
	}
}

// round compares everything and returns when to do it again. The first one asks several peers what all know: one
// that was away itself might not know of a cancel.
func (s *spreader) round(ctx context.Context, first bool) time.Duration {
	others := s.node.others()
	if len(others) == 0 {
		return lookEvery
	}
	errands := s.errands(true)
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	most := 1
	if first {
		most = askFirst
	}
	for _, m := range others[:min(len(others), most)] {
		errands[m] = slices.Insert(errands[m], 0, errand{dir: records.Both})
	}
	s.visit(ctx, errands)
	return spreadEvery
}

// errands returns what to compare with whom. A steward compares its shards' reports with the others, anyone else
// offers what it has until they have it all. Without all only those are visited who are new to a shard.
func (s *spreader) errands(all bool) map[peer.Member][]errand {
	n := s.node
	members, shards := n.Members(), n.Store.OwnShards()
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.given, func(shard jobs.ShardID, _ map[jobs.AgentID]bool) bool { return !slices.Contains(shards, shard) })
	out := map[peer.Member][]errand{}
	for _, shard := range shards {
		stewards := peer.Stewards(shard, members)
		given := map[jobs.AgentID]bool{} // of the present stewards only: who comes back may have lost its disk
		self := false
		for _, m := range stewards {
			given[m.ID] = s.given[shard][m.ID]
			self = self || m.ID == n.ID()
		}
		s.given[shard] = given
		if failpoint.Planted("node.offer") && !self { // what was acknowledged once is not offered again
			continue
		}
		e := errand{records.Scope{Shard: shard, Reports: true}, records.Offering}
		if self {
			e.dir = records.Both
		}
		for _, m := range stewards {
			if m.ID != n.ID() && (!given[m.ID] || self && all) {
				out[m] = append(out[m], e)
			}
		}
	}
	return out
}

// visit calls on peers, on all at the same time, so that one that hangs holds up nothing that is for the others.
func (s *spreader) visit(ctx context.Context, errands map[peer.Member][]errand) {
	for m, list := range errands {
		s.mu.Lock()
		busy := s.busy[m.ID]
		s.busy[m.ID], s.missed = true, s.missed || busy
		s.mu.Unlock()
		if busy {
			continue
		}
		s.work.Go(func() {
			select {
			case s.slots <- struct{}{}:
				s.call(ctx, m, list)
				<-s.slots
			case <-ctx.Done():
			}
			s.left(m.ID)
		})
	}
}

// left ends a visit. Whoever was to be visited meanwhile is now.
func (s *spreader) left(id jobs.AgentID) {
	s.mu.Lock()
	missed := s.missed
	s.missed = false
	delete(s.busy, id)
	s.mu.Unlock()
	if missed {
		s.node.changed()
	}
}

// call does all errands with one peer, until one fails.
func (s *spreader) call(ctx context.Context, with peer.Member, list []errand) {
	for _, e := range list {
		done, err := s.compare(ctx, with, e)
		if err != nil {
			s.node.log.Info("cannot compare records", "peer", with.ID, "err", err)
			return
		}
		s.mu.Lock()
		if given := s.given[e.scope.Shard]; e.scope.Reports && given != nil {
			if _, steward := given[with.ID]; steward {
				given[with.ID] = done
			}
		}
		s.mu.Unlock()
	}
}

// compare does one errand and reports whether the peer refused nothing that it may take later. What it refused for
// now is offered once more after what can make it take that was done.
func (s *spreader) compare(ctx context.Context, with peer.Member, e errand) (done bool, err error) {
	again, err := s.node.sync(ctx, with, e)
	if err != nil || len(again) == 0 || !e.scope.Reports {
		return len(again) == 0, err
	}
	if _, err := s.node.sync(ctx, with, errand{dir: records.Offering}); err != nil { // manifests that it lacks
		return false, err
	}
	s.node.mendAll(ctx, again)
	again, err = s.node.sync(ctx, with, e)
	return len(again) == 0, err
}

// sync compares one scope with one peer and returns what the peer refused for now.
func (n *Node) sync(ctx context.Context, with peer.Member, e errand) ([]jobs.Digest, error) {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	conn, err := n.Dialer.Conn(with.Address, with.ID)
	if err != nil {
		return nil, err
	}
	refused, err := n.Store.Sync(ctx, withClock{conn, n, with.ID}, e.scope, e.dir)
	var again []jobs.Digest
	for _, r := range refused {
		if !r.Final {
			again = append(again, r.ID)
		}
	}
	return again, err
}

// Learn takes over what a peer knows of a shard, and gives it what it lacks.
func (n *Node) Learn(ctx context.Context, shard jobs.ShardID, from peer.Member) error {
	_, err := n.sync(ctx, from, errand{records.Scope{Shard: shard, Reports: true}, records.Both})
	return err
}

// changed tells the spreader that the pool changed.
func (n *Node) changed() {
	select {
	case n.moved <- struct{}{}:
	default: // it will look anyway
	}
}

// see notes who may hold blobs now.
func (n *Node) see() {
	if err := n.Store.See(time.Now()); err != nil {
		n.log.Info("cannot write down who was here", "err", err)
	}
}
