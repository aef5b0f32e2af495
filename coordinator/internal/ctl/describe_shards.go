package ctl

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// parallelStewards bounds the stewards that describe asks at the same time.
const parallelStewards = 12

// shardView is what each steward of a shard says of it.
type shardView struct {
	Shard    uint32        `json:"shard"`
	Stewards []stewardView `json:"stewards"` // the first choice first
}

type stewardView struct {
	ID       string `json:"id"`
	Class    string `json:"class"`
	Answers  bool   `json:"answers"`
	Open     uint64 `json:"open"`
	Accepted uint64 `json:"accepted"`
	Failed   uint64 `json:"failed"`

	short   string
	lessees [][]byte
}

// workerView is an agent that has units of the job now.
type workerView struct {
	ID    string `json:"id"`
	Class string `json:"class"` // empty: not in the pool
}

// addShards asks every steward of the first shards.
func (v *describeView) addShards(ctx context.Context, g *grid, job records.Job) {
	v.Shards = make([]shardView, min(job.Manifest.Shards(), maxShards))
	var group errgroup.Group
	group.SetLimit(parallelStewards)
	for n := range v.Shards {
		shard := jobs.ShardID{Job: job.ID, Shard: uint32(n)} // at most maxShards
		stewards := peer.Stewards(shard, g.members)
		v.Shards[n] = shardView{Shard: shard.Shard, Stewards: make([]stewardView, len(stewards))}
		for i, m := range stewards {
			group.Go(func() error {
				v.Shards[n].Stewards[i] = g.stewardView(ctx, shard, m)
				return nil
			})
		}
	}
	_ = group.Wait() // Who does not answer is part of the view.
	v.addWorkers(g.members)
}

func (g *grid) stewardView(ctx context.Context, shard jobs.ShardID, m peer.Member) stewardView {
	s := stewardView{ID: m.ID.String(), short: m.ID.Short(), Class: m.Class.String()}
	if r, err := g.askSummary(ctx, shard, m); err == nil {
		s.said(r)
	}
	return s
}

func (s *stewardView) said(r *gridv1.SummaryReply) {
	s.Answers = true
	s.Open, s.Accepted, s.Failed, s.lessees = r.GetOpen(), r.GetAccepted()+r.GetSealed(), r.GetFailed(), r.GetLessees()
}

// addWorkers lists those who hold leases of open units.
func (v *describeView) addWorkers(members []peer.Member) {
	v.Workers = []workerView{}
	seen := map[jobs.KeyID]bool{}
	for _, shard := range v.Shards {
		for _, s := range shard.Stewards {
			for _, b := range s.lessees {
				id, err := jobs.KeyIDFromBytes(b)
				if err != nil || seen[id] || s.Open == 0 {
					continue // who holds leases of what is done has not been told yet
				}
				seen[id] = true
				w := workerView{ID: id.String()}
				if i := slices.IndexFunc(members, func(m peer.Member) bool { return m.ID == id }); i >= 0 {
					w.Class = members[i].Class.String()
				}
				v.Workers = append(v.Workers, w)
			}
		}
	}
	slices.SortFunc(v.Workers, func(a, b workerView) int { return strings.Compare(a.ID, b.ID) })
}
