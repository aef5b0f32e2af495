// Package throughput gathers what stewards say of the live jobs and reports the aggregate: units by status, copies of
// blobs, agents and cores. What the jobs have cost it hands on to the accounts. It only reads; a wrong number here changes
// nothing.
package throughput

import (
	"cmp"
	"context"
	"encoding/binary"
	"log/slog"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/pace"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	gatherEvery = 10 * time.Second
	// watchEvery is gatherEvery while somebody follows jobs on the page.
	watchEvery = 2 * time.Second
	// doneEvery is each how many times of gatherEvery the stewards of a shard are asked in which nothing was open or lent:
	// most live jobs are done and wait for their submitters. What may change that is news, and they are asked like others
	// for newsFor.
	doneEvery  = 60
	noTurn     = -1 // a round in which it is the turn of none
	newsFor    = time.Minute
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
	// Saw is told what each look saw; nil: nobody is.
	Saw func(accounts.Look, time.Time)
	Log *slog.Logger
}

// Gatherer asks stewards and keeps the last answers.
type Gatherer struct {
	o       Options
	log     *slog.Logger
	metrics metrics

	spent map[jobs.ShardID]uint64 // all CPU time in the account that was handed on last; gather's own

	mu    sync.Mutex                            // guards everything below
	last  map[jobs.ShardID]*gridv1.SummaryReply // of live jobs, without accounts
	paces map[jobs.JobID]*pace.Pace             // of those of which something is open
	news  map[jobs.JobID]time.Time              // the last of each, while it is not older than newsFor
}

// New returns a gatherer whose metrics are registered.
func New(o Options) *Gatherer {
	g := &Gatherer{
		o: o, log: o.Log.With("component", "throughput"), spent: map[jobs.ShardID]uint64{},
		last: map[jobs.ShardID]*gridv1.SummaryReply{}, paces: map[jobs.JobID]*pace.Pace{}, news: map[jobs.JobID]time.Time{},
	}
	g.metrics = newMetrics(o.Register)
	return g
}

// Run gathers until ctx ends.
func (g *Gatherer) Run(ctx context.Context) {
	const watches = int(gatherEvery / watchEvery)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for tick := 0; ; tick++ {
		if tick%watches == 0 {
			g.gather(ctx, tick/watches%doneEvery)
		} else if g.o.Watched != nil && g.o.Watched() {
			g.gather(ctx, noTurn)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// turn is in which of doneEvery rounds a shard is asked about that is done, so that they are not all at once.
func turn(shard jobs.ShardID) int {
	return int(binary.BigEndian.Uint32(shard.Job[:]) % doneEvery)
}

// News has the stewards of a job asked soon, even if all of it was done: a ruling, a cancel or a seal has come. Of a job
// that is new nobody has said yet that it is done.
func (g *Gatherer) News(job jobs.JobID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last[jobs.ShardID{Job: job}] != nil {
		g.news[job] = time.Now()
	}
}

// gather asks the first reachable steward of each shard of the live jobs that is not done, or whose turn this round is.
func (g *Gatherer) gather(ctx context.Context, round int) {
	began := time.Now()
	members := g.o.Members()
	live := g.o.Store.Jobs(false)
	shards := map[jobs.ShardID]*gridv1.SummaryReply{}
	look := accounts.Look{Jobs: live, Accounts: map[jobs.ShardID][]ledger.HourSpend{}, Cores: offered(members)}
	for _, j := range live {
		for n := range j.Manifest.Shards() {
			shard := jobs.ShardID{Job: j.ID, Shard: n}
			if g.done(shard) && turn(shard) != round {
				continue
			}
			reply, spent := g.ask(ctx, shard, members)
			if reply != nil {
				shards[shard] = reply
			} else {
				g.metrics.silent.Inc()
			}
			if spent != nil {
				look.Accounts[shard] = spent
			}
		}
	}
	g.metrics.rounds.Observe(time.Since(began).Seconds())
	if g.o.Saw != nil && ctx.Err() == nil {
		g.o.Saw(look, time.Now())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.spent, func(shard jobs.ShardID, _ uint64) bool {
		_, err := g.o.Store.Job(shard.Job)
		return err != nil
	})
	for shard, old := range g.last {
		if _, err := g.o.Store.Job(shard.Job); err == nil && shards[shard] == nil {
			shards[shard] = old // nobody answered this time, or was asked
		}
	}
	g.last = shards
	maps.DeleteFunc(g.news, func(_ jobs.JobID, came time.Time) bool { return came.Before(began.Add(-newsFor)) })
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

// done reports whether a steward said last that nothing of a shard is open or lent, and no news came since.
func (g *Gatherer) done(shard jobs.ShardID) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	last := g.last[shard]
	_, news := g.news[shard.Job]
	return !news && last != nil && last.GetOpen() == 0 && last.GetLent() == 0
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

// ask returns what the first steward says that answers, and what the shard has cost; nil: that is as it was. If it is not
// what it was before, the other stewards are asked too: what is spent goes into counters that never fall, so no steward
// that lies, or has just begun to learn, decides that alone.
func (g *Gatherer) ask(ctx context.Context, shard jobs.ShardID, members []peer.Member) (first *gridv1.SummaryReply, spent []ledger.HourSpend) {
	before, known := g.spent[shard]
	var said [][]ledger.HourSpend
	for _, m := range peer.Stewards(shard, members) {
		reply, err := g.askOne(ctx, shard, m)
		var account []ledger.HourSpend
		if err == nil {
			account, err = steward.AccountFromProto(reply.GetAccount())
		}
		if err != nil {
			g.log.Debug("a steward does not answer", "shard", shard, "steward", m.ID, "err", err)
			continue
		}
		if first == nil {
			reply.Account = nil
			first = reply
		}
		said = append(said, account)
		if known && totalOf(account) == before || len(said) == 2 && totalOf(said[0]) == totalOf(account) {
			said = said[len(said)-1:]
			break
		}
	}
	if spent = between(said, before, known); spent != nil {
		g.spent[shard] = totalOf(spent)
	}
	return first, spent
}

// between returns the account in the middle of three. Of two it is the one nearer to what was before, or the smaller one
// where nothing was known; nil: they differ in opposite directions.
func between(said [][]ledger.HourSpend, before uint64, known bool) []ledger.HourSpend {
	slices.SortFunc(said, func(a, b []ledger.HourSpend) int { return cmp.Compare(totalOf(a), totalOf(b)) })
	switch {
	case len(said) == 0:
		return nil
	case len(said) == 2 && known && totalOf(said[0]) < before && before < totalOf(said[1]):
		return nil
	case len(said) == 2 && known && totalOf(said[1]) <= before:
		return said[1]
	}
	return said[(len(said)-1)/2]
}

func totalOf(account []ledger.HourSpend) (sum uint64) {
	for _, h := range account {
		sum += h.Total()
	}
	return sum
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
