package ctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

const (
	// tellTimeout bounds the telling of the agents about one job.
	tellTimeout = time.Minute
	// leastTold is how many agents are told of a cancel or seal at least; the others hear of it from them.
	leastTold = 3
	// parallelTold bounds the peers that are told at the same time.
	parallelTold = 16
	// mostOthers bounds the agents that are told because others did not listen.
	mostOthers = 32
)

// told is who keeps what a person said of a job.
type told struct {
	agents      int
	coordinator bool
	refusal     error // of one that does not
}

// tell gives a cancel or seal to the job's stewards, to more agents if those are few, and to the coordinator if
// it is there. It is an error if fewer agents keep it than make a fact durable; where there is none, the coordinator
// suffices, which tells those who come.
func (g *grid) tell(ctx context.Context, job records.Job, typ string, payload []byte) (told, error) {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	env := record.Sign(typ, payload, g.id.Key)
	offer := records.Offer{Record: records.Record{Envelope: env}, Chains: [][][]byte{g.id.Chain}}
	first, others := g.audience(job)
	t := g.push(ctx, first, offer)
	need := peer.Needed(g.members)
	if t.agents < need && ctx.Err() == nil {
		more := g.push(ctx, others, offer)
		t.agents += more.agents
		if more.refusal != nil {
			t.refusal = more.refusal
		}
	}
	switch {
	case ctx.Err() != nil:
		return t, context.Cause(ctx)
	case t.agents >= need, t.coordinator && !slices.ContainsFunc(g.members, isAgent):
		return t, nil
	case t.refusal == nil:
		t.refusal = jobs.Errorf(jobs.Unavailable, "no agent is in the pool")
	}
	return t, fmt.Errorf("%d of %s keep it: %w", t.agents, count(need, "agent"), t.refusal)
}

func isAgent(m peer.Member) bool { return m.Role == peer.Agent }

// audience returns whom to tell first, and whom if too few of those listen.
func (g *grid) audience(job records.Job) (first, others []peer.Member) {
	chosen := map[jobs.AgentID]bool{}
	for n := range job.Manifest.Shards() {
		for _, m := range peer.Stewards(jobs.ShardID{Job: job.ID, Shard: n}, g.members) {
			chosen[m.ID] = true
		}
	}
	agents := len(chosen)
	for _, m := range g.members {
		switch {
		case m.Role == peer.Coordinator, chosen[m.ID]:
			first = append(first, m)
		case m.Role != peer.Agent:
		case agents < leastTold:
			agents++
			first = append(first, m)
		case len(others) < mostOthers:
			others = append(others, m)
		}
	}
	return first, others
}

// push offers a record to peers.
func (g *grid) push(ctx context.Context, to []peer.Member, offer records.Offer) (t told) {
	errs := make([]error, len(to))
	var group errgroup.Group
	group.SetLimit(parallelTold)
	for i, m := range to {
		group.Go(func() error {
			errs[i] = g.pushTo(ctx, m, offer)
			return nil
		})
	}
	_ = group.Wait() // there is no error
	for i, m := range to {
		switch {
		case errs[i] != nil:
			t.refusal = errs[i]
		case m.Role == peer.Coordinator:
			t.coordinator = true
		default:
			t.agents++
		}
	}
	return t
}

func (g *grid) pushTo(ctx context.Context, m peer.Member, offer records.Offer) error {
	return g.call(ctx, m, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		refused, err := records.Push(ctx, conn, []records.Offer{offer}, false)
		if err == nil && len(refused) > 0 {
			err = jobs.Errorf(jobs.Denied, "%s", refused[0].Reason)
		}
		return err
	})
}

// pushRuling gives a ruling to the first agents that take it; the others hear of it from them.
func (g *grid) pushRuling(ctx context.Context, env record.Envelope) error {
	offer := records.Offer{Record: records.Record{Envelope: env}, Chains: [][][]byte{g.id.Chain}}
	agents := slices.DeleteFunc(slices.Clone(g.members), func(m peer.Member) bool { return !isAgent(m) })
	ask := func(ctx context.Context, i int) error { return g.pushTo(ctx, agents[i], offer) }
	answers, err := question{enough: peer.Copies, hedge: hedgeAfter, ask: ask}.of(ctx, len(agents))
	if answers == 0 && err == nil {
		err = jobs.Errorf(jobs.Unavailable, "no agent is in the pool")
	}
	return err
}

// String returns such as "3 agents and the coordinator know".
func (t told) String() string {
	who, verb := []string{}, "know"
	if t.agents > 0 {
		who = append(who, count(t.agents, "agent"))
	}
	if t.coordinator {
		who = append(who, "the coordinator")
	}
	if len(who) == 1 && t.agents < 2 {
		verb = "knows"
	}
	return strings.Join(who, " and ") + " " + verb
}
