// Package throughput gathers what stewards say of the live jobs and reports the aggregate: units by status,
// CPU time harvested, copies of blobs, agents and cores. It only reads; a wrong number here changes nothing.
package throughput

import (
	"context"
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/pace"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	gatherEvery = 10 * time.Second
	// watchEvery is gatherEvery while somebody follows jobs on the page.
	watchEvery = 2 * time.Second
	// askAll is each how many times the stewards of all shards are asked. Between, those are not in which nothing was
	// open or lent: most live jobs are done and wait for their submitters, and a ruling or another try may change them.
	askAll     = 6
	askTimeout = 5 * time.Second
	// maxMicros bounds what a steward says of CPU time, so that a sum of it is a time.Duration.
	maxMicros = uint64(math.MaxInt64 / (1 << 20) / time.Microsecond)
)

// Options say what a Gatherer needs.
type Options struct {
	Store    *records.Store
	Members  func() []peer.Member
	Dial     func(address string, id jobs.AgentID) (grpc.ClientConnInterface, error)
	Register prometheus.Registerer
	// Watched reports whether somebody follows jobs now; nil: nobody ever does.
	Watched func() bool
	Log     *slog.Logger
}

// Gatherer asks stewards and keeps the last answers.
type Gatherer struct {
	o       Options
	log     *slog.Logger
	metrics metrics

	mu    sync.Mutex                            // guards everything below
	last  map[jobs.ShardID]*gridv1.SummaryReply // of live jobs
	paces map[jobs.JobID]*pace.Pace             // of those of which something is open
}

// New returns a gatherer whose metrics are registered.
func New(o Options) *Gatherer {
	g := &Gatherer{o: o, log: o.Log.With("component", "throughput"), last: map[jobs.ShardID]*gridv1.SummaryReply{}, paces: map[jobs.JobID]*pace.Pace{}}
	g.metrics = newMetrics(o.Register)
	return g
}

// Run gathers until ctx ends.
func (g *Gatherer) Run(ctx context.Context) {
	const watches = int(gatherEvery / watchEvery)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for tick := 0; ; tick++ {
		if tick%watches == 0 || g.o.Watched != nil && g.o.Watched() {
			g.gather(ctx, tick%(askAll*watches) == 0)
		}
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
	g.keepPace(live, time.Now())
	g.metrics.show(len(live), members, shards)
}

// keepPace notes how far the jobs are that are not done. The caller holds mu.
func (g *Gatherer) keepPace(live []records.Job, now time.Time) {
	paces := map[jobs.JobID]*pace.Pace{}
	for _, j := range live {
		c := g.count(j)
		if !c.Known || c.Open == 0 {
			continue
		}
		p := g.paces[j.ID]
		if p == nil {
			p = &pace.Pace{}
		}
		p.Add(now, c.done())
		paces[j.ID] = p
	}
	g.paces = paces
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
	Open, Accepted, Failed, Conflict uint64
	Lent                             uint64
	Agents                           int           // that have units of it
	CPU                              time.Duration // of accepted outcomes
	Known                            bool          // of all shards
	Rate                             float64       // units a second; 0: not known, or nothing is open
}

func (c Count) done() uint64 { return c.Accepted + c.Failed + c.Conflict }

// Job returns what stewards said last of a job.
func (g *Gatherer) Job(job records.Job) Count {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.count(job)
	if p := g.paces[job.ID]; p != nil {
		c.Rate = p.Rate(time.Now(), c.done())
	}
	return c
}

// count adds up the shards of a job. The caller holds mu.
func (g *Gatherer) count(job records.Job) Count {
	c := Count{Known: true}
	var lessees map[string]bool
	for n := range job.Manifest.Shards() {
		s := g.last[jobs.ShardID{Job: job.ID, Shard: n}]
		c.Known = c.Known && s != nil
		c.Open += s.GetOpen()
		c.Accepted += s.GetAccepted() + s.GetSealed()
		c.Failed += s.GetFailed()
		c.Conflict += s.GetConflict()
		c.CPU += time.Duration(min(s.GetUsefulCpuUs(), maxMicros)) * time.Microsecond
		if s.GetOpen() == 0 {
			continue // who holds leases of what is done has not been told yet
		}
		c.Lent += s.GetLent()
		for _, id := range s.GetLessees() {
			if lessees == nil {
				lessees = map[string]bool{}
			}
			lessees[string(id)] = true
		}
	}
	c.Agents = len(lessees)
	return c
}

// Shards returns what stewards said last of a job's shards, at most so many; nil is one of which none answered yet. The
// replies must not be changed.
func (g *Gatherer) Shards(job records.Job, most uint32) []*gridv1.SummaryReply {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*gridv1.SummaryReply, min(most, job.Manifest.Shards()))
	for n := range out {
		out[n] = g.last[jobs.ShardID{Job: job.ID, Shard: uint32(n)}]
	}
	return out
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
