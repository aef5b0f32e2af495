package node

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
)

// keepSpreading compares records: what all know with one random peer, reports with the shard's stewards.
func (n *Node) keepSpreading(ctx context.Context) {
	placed := map[jobs.ShardID]*placement{}
	joined := false
	every(ctx, func() time.Duration {
		others := n.others()
		if len(others) == 0 {
			return lookEvery
		}
		r := round{node: n, placed: placed, failed: map[jobs.AgentID]bool{}}
		r.sync(ctx, others[rand.IntN(len(others))], records.Scope{}, records.Both)
		shards := n.Store.OwnShards()
		maps.DeleteFunc(placed, func(s jobs.ShardID, _ *placement) bool { return !slices.Contains(shards, s) })
		for _, shard := range shards {
			if ctx.Err() == nil {
				r.spreadShard(ctx, shard)
			}
		}
		if !joined {
			joined = true
			return settleTime
		}
		return jitter(spreadEvery)
	})
}

// placement is who stewarded a shard when its reports were last offered.
type placement struct {
	stewards []jobs.AgentID
	since    time.Time
	offered  bool
}

// round is one turn of keepSpreading. Who failed once is left alone until the next, so that one peer that hangs
// does not hold up what is for the others.
type round struct {
	node   *Node
	placed map[jobs.ShardID]*placement
	failed map[jobs.AgentID]bool
}

// spreadShard compares a shard's reports: a steward with the others at each turn; anyone else offers what it
// has when the stewards changed, and have stayed the same for a while.
func (r *round) spreadShard(ctx context.Context, shard jobs.ShardID) {
	n := r.node
	now := time.Now()
	stewards := peer.Stewards(shard, n.Members())
	ids := make([]jobs.AgentID, 0, len(stewards))
	for _, m := range stewards {
		ids = append(ids, m.ID)
	}
	p := r.placed[shard]
	if p == nil || !slices.Equal(p.stewards, ids) {
		p = &placement{stewards: ids, since: now}
		r.placed[shard] = p
	}
	self := slices.Contains(ids, n.ID())
	if !self && (p.offered || now.Sub(p.since) < settleTime) {
		return
	}
	direction := records.Offering
	if self {
		direction = records.Both
	}
	p.offered = true
	for _, m := range stewards {
		if m.ID != n.ID() {
			p.offered = r.sync(ctx, m, records.Scope{Shard: shard, Reports: true}, direction) && p.offered
		}
	}
}

// sync compares one scope with one peer and reports whether that is done: it worked, and the peer refused nothing
// that it may take later.
func (r *round) sync(ctx context.Context, with peer.Member, scope records.Scope, dir records.Direction) bool {
	if r.failed[with.ID] {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	n := r.node
	conn, err := n.Dialer.Conn(with.Address, with.ID)
	var again []jobs.Digest
	if err == nil {
		var refused []records.Refusal
		refused, err = n.Store.Sync(ctx, withClock{conn, n, with.ID}, scope, dir)
		again = notFinal(refused)
	}
	if len(again) > 0 {
		call(n.hooks.OnRefused, again)
	}
	if err != nil {
		r.failed[with.ID] = true
		n.log.Info("cannot compare records", "peer", with.ID, "err", err)
	}
	return err == nil && len(again) == 0
}

// notFinal returns what was refused for now only.
func notFinal(list []records.Refusal) []jobs.Digest {
	var again []jobs.Digest
	for _, r := range list {
		if !r.Final {
			again = append(again, r.ID)
		}
	}
	return again
}
