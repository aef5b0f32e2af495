// Package throughput gathers what stewards say of the live jobs and reports the aggregate: units by status,
// CPU time harvested, copies of blobs, agents and cores. It only reads; a wrong number here changes nothing.
package throughput

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	gatherEvery = 10 * time.Second
	// askAll is each how many times the stewards of all shards are asked. Between, those are not in which nothing was
	// open or lent: most live jobs are done and wait for their submitters, and a ruling or another try may change them.
	askAll     = 6
	askTimeout = 5 * time.Second
)

// Options say what a Gatherer needs.
type Options struct {
	Store    *records.Store
	Members  func() []peer.Member
	Dial     func(address string, id jobs.AgentID) (grpc.ClientConnInterface, error)
	Register prometheus.Registerer
	Log      *slog.Logger
}

// Gatherer asks stewards and keeps the last answers.
type Gatherer struct {
	o       Options
	log     *slog.Logger
	metrics metrics

	mu   sync.Mutex
	last map[jobs.ShardID]*gridv1.SummaryReply // of live jobs; guarded by mu
}

// New returns a gatherer whose metrics are registered.
func New(o Options) *Gatherer {
	g := &Gatherer{o: o, log: o.Log.With("component", "throughput"), last: map[jobs.ShardID]*gridv1.SummaryReply{}}
	g.metrics = newMetrics(o.Register)
	return g
}

// Run gathers until ctx ends.
func (g *Gatherer) Run(ctx context.Context) {
	ticker := time.NewTicker(gatherEvery)
	defer ticker.Stop()
	for round := 0; ; round++ {
		g.gather(ctx, round%askAll == 0)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// gather asks the first reachable steward of each shard of the live jobs, or without all of each that is not done.
func (g *Gatherer) gather(ctx context.Context, all bool) {
	began := time.Now()
	members := g.o.Members()
	live := g.o.Store.Jobs(false)
	shards := map[jobs.ShardID]*gridv1.SummaryReply{}
	for _, j := range live {
		for n := range j.Manifest.Shards() {
			shard := jobs.ShardID{Job: j.ID, Shard: n}
			if !all && g.done(shard) {
				continue
			}
			if reply := g.ask(ctx, shard, members); reply != nil {
				shards[shard] = reply
			} else {
				g.metrics.silent.Inc()
			}
		}
	}
	g.metrics.rounds.Observe(time.Since(began).Seconds())
	g.mu.Lock()
	defer g.mu.Unlock()
	for shard, old := range g.last {
		if _, err := g.o.Store.Job(shard.Job); err == nil && shards[shard] == nil {
			shards[shard] = old // nobody answered this time, or was asked
		}
	}
	g.last = shards
	g.metrics.show(len(live), members, shards)
}

// done reports whether a steward said last that nothing of a shard is open or lent.
func (g *Gatherer) done(shard jobs.ShardID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.last[shard]
	return last != nil && last.GetOpen() == 0 && last.GetLent() == 0
}

// Count is what stewards said last of a whole job.
type Count struct {
	Open, Accepted, Failed uint64
	Known                  bool // of all shards
}

// Job returns what stewards said last of a job.
func (g *Gatherer) Job(job records.Job) Count {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := Count{Known: true}
	for n := range job.Manifest.Shards() {
		s := g.last[jobs.ShardID{Job: job.ID, Shard: n}]
		c.Known = c.Known && s != nil
		c.Open += s.GetOpen()
		c.Accepted += s.GetAccepted() + s.GetSealed()
		c.Failed += s.GetFailed()
	}
	return c
}

func (g *Gatherer) ask(ctx context.Context, shard jobs.ShardID, members []peer.Member) *gridv1.SummaryReply {
	for _, m := range peer.Stewards(shard, members) {
		reply, err := g.askOne(ctx, shard, m)
		if err == nil {
			return reply
		}
		g.log.Debug("a steward does not answer", "shard", shard, "steward", m.ID, "err", err)
	}
	return nil
}

func (g *Gatherer) askOne(ctx context.Context, shard jobs.ShardID, m peer.Member) (*gridv1.SummaryReply, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := g.o.Dial(m.Address, m.ID)
	if err != nil {
		return nil, err
	}
	return gridv1.NewStewardClient(conn).Summary(ctx, &gridv1.SummaryRequest{Shard: records.ShardToProto(shard)})
}
