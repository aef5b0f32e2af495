package throughput_test

import (
	"context"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/jobtest"
	"idlegrid/coordinator/internal/throughput"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

// shown are the metrics that a gatherer shows of what it knows.
var shown = []string{
	"idlegrid_agents", "idlegrid_live_job_blobs", "idlegrid_live_job_lent_units", "idlegrid_live_job_units",
	"idlegrid_live_jobs", "idlegrid_offered_cores", "idlegrid_reachable_agents",
}

const nothing = `# HELP idlegrid_agents Agents in the pool.
# TYPE idlegrid_agents gauge
idlegrid_agents{class="always-on"} 0
idlegrid_agents{class="laptop"} 0
idlegrid_agents{class="office"} 0
# HELP idlegrid_live_job_blobs Programs, inputs and results of live jobs, as their stewards last counted the copies: enough, few, or none on an agent that can be reached.
# TYPE idlegrid_live_job_blobs gauge
idlegrid_live_job_blobs{copies="enough"} 0
idlegrid_live_job_blobs{copies="few"} 0
idlegrid_live_job_blobs{copies="none"} 0
# HELP idlegrid_live_job_lent_units Units of live jobs that agents have borrowed to run them.
# TYPE idlegrid_live_job_lent_units gauge
idlegrid_live_job_lent_units 0
# HELP idlegrid_live_job_units Units of live jobs.
# TYPE idlegrid_live_job_units gauge
idlegrid_live_job_units{status="accepted"} 0
idlegrid_live_job_units{status="conflict"} 0
idlegrid_live_job_units{status="dead"} 0
idlegrid_live_job_units{status="failed"} 0
idlegrid_live_job_units{status="open"} 0
idlegrid_live_job_units{status="sealed"} 0
# HELP idlegrid_live_jobs Jobs that have not expired.
# TYPE idlegrid_live_jobs gauge
idlegrid_live_jobs 0
# HELP idlegrid_offered_cores Cores that agents offer now.
# TYPE idlegrid_offered_cores gauge
idlegrid_offered_cores 0
# HELP idlegrid_reachable_agents Agents that keep ledgers and blobs: another could reach them, and they are not about to leave.
# TYPE idlegrid_reachable_agents gauge
idlegrid_reachable_agents{class="always-on"} 0
idlegrid_reachable_agents{class="laptop"} 0
idlegrid_reachable_agents{class="office"} 0
`

// two is what stands there with two jobs.
var two = with(nothing, map[string]string{
	`agents{class="always-on"}`: "3", `agents{class="laptop"}`: "1", `reachable_agents{class="always-on"}`: "3",
	`live_job_blobs{copies="enough"}`: "8", `live_job_blobs{copies="few"}`: "4", `live_job_blobs{copies="none"}`: "2",
	"live_job_lent_units":               "4",
	`live_job_units{status="accepted"}`: "10", `live_job_units{status="conflict"}`: "2", `live_job_units{status="failed"}`: "4",
	`live_job_units{status="open"}`: "6", "live_jobs": "2", "offered_cores": "6",
})

// with returns a page with other values.
func with(page string, values map[string]string) string {
	for name, value := range values {
		page = strings.ReplaceAll(page, "\nidlegrid_"+name+" 0\n", "\nidlegrid_"+name+" "+value+"\n")
	}
	return page
}

// pool answers for its stewards, of whom some are off.
type pool struct {
	*jobtest.Pool
	registry *prometheus.Registry
	gatherer *throughput.Gatherer // that was started last

	mu    sync.Mutex // guards everything below
	off   map[jobs.AgentID]bool
	asked []jobs.AgentID
}

func newPool(t *testing.T) *pool {
	p := &pool{Pool: jobtest.NewPool(t, 4), registry: prometheus.NewRegistry(), off: map[jobs.AgentID]bool{}}
	agents := p.Agents()
	agents[3].Class, agents[3].Reachable, agents[3].Cores = peer.Laptop, false, 0
	p.SetAgents(agents)
	p.Answer = func(to jobs.AgentID, method string, request any) (proto.Message, error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked = append(p.asked, to)
		if _, ok := request.(*gridv1.SummaryRequest); !ok || p.off[to] {
			return nil, jobs.Errorf(jobs.Unavailable, "%s: off", method)
		}
		return &gridv1.SummaryReply{
			Open: 3, Accepted: 5, Failed: 2, Conflict: 1, Lent: 2, UsefulCpuUs: 1_750_000,
			Blobs: &gridv1.BlobCounts{Enough: 4, Few: 2, None: 1},
		}, nil
	}
	return p
}

// value returns what a counter, or a histogram's count, has come to.
func (p *pool) value(t *testing.T, name string) (n float64) {
	t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			m := f.GetMetric()[0]
			n = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return n
}

// start gathers until the returned function is called. Saw may be nil.
func (p *pool) start(saw func(accounts.Look, time.Time)) (stop func()) {
	g := throughput.New(throughput.Options{
		Store: p.Store, Members: p.Members, Dial: p.Dial, Register: p.registry, Saw: saw, Log: slog.New(slog.DiscardHandler),
	})
	p.gatherer = g
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		agents := p.Agents()
		p.SetAgents(nil)
		defer p.start(nil)()
		look := func(what, want string) {
			t.Helper()
			time.Sleep(15 * time.Second)
			synctest.Wait()
			if err := testutil.GatherAndCompare(p.registry, strings.NewReader(want), shown...); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		look("no agents, no jobs", nothing)

		p.SetAgents(agents)
		first := p.Admit("first", nil)
		p.Admit("second", func(m *manifest.Manifest) { m.Program.Size = 8 })
		look("two jobs", two)
		if rounds, silent := p.value(t, "idlegrid_gather_duration_seconds"), p.value(t, "idlegrid_gather_failures_total"); rounds < 2 || silent != 0 {
			t.Errorf("%v rounds, %v parts without an answer", rounds, silent)
		}

		// The first steward is asked, and the next where it is off; what nobody answers is as it was.
		stewards := peer.Stewards(jobs.ShardID{Job: first.ID}, p.Members())
		p.mu.Lock()
		p.off[stewards[0].ID], p.asked = true, nil
		p.mu.Unlock()
		look("one steward is off", two)
		p.mu.Lock()
		if !slices.Contains(p.asked, stewards[1].ID) {
			t.Errorf("asked %v, expected the second steward among them", p.asked)
		}
		for _, a := range agents {
			p.off[a.ID] = true
		}
		p.mu.Unlock()
		look("all are off", two)
		if silent := p.value(t, "idlegrid_gather_failures_total"); silent < 2 {
			t.Errorf("%v parts without an answer", silent)
		}

		p.SetAgents(nil)
		time.Sleep(25 * time.Hour)
		look("the jobs have expired", nothing)
	})
}

// TestP11OneStewardDecidesNothing: what a shard has cost is what the first steward says while that does not change; then
// the one in the middle of three stewards counts, or of two and what was before.
func TestP11OneStewardDecidesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		var mu sync.Mutex
		said := map[jobs.AgentID]uint64{}
		asked := 0
		p.Answer = func(to jobs.AgentID, _ string, _ any) (proto.Message, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			us, on := said[to]
			if !on {
				return nil, jobs.Errorf(jobs.Unavailable, "off")
			}
			return &gridv1.SummaryReply{Open: 1, Account: []*gridv1.HourlySpend{{Hour: 9, Spend: &gridv1.Spend{UsefulUs: us, LostUs: 1}}}}, nil
		}
		shard := jobs.ShardID{Job: p.Admit("one", nil).ID}
		stewards := peer.Stewards(shard, p.Members())
		got := int64(-1) // microseconds, one of them lost; -1: nothing was handed on
		defer p.start(func(l accounts.Look, _ time.Time) {
			mu.Lock()
			defer mu.Unlock()
			if got = -1; l.Accounts[shard] != nil {
				got = int64(l.Accounts[shard][0].Total()) - 1
			}
			if len(l.Jobs) != 1 || l.Cores != 6 {
				t.Errorf("saw %d jobs and %d cores", len(l.Jobs), l.Cores)
			}
		})()
		time.Sleep(5 * time.Second) // between two looks
		const off = math.MaxUint64
		for _, c := range []struct {
			what  string
			said  [3]uint64
			want  int64
			asked int
		}{
			{"nobody answers", [3]uint64{off, off, off}, -1, 3},
			{"the first look: the first lies, two are there", [3]uint64{900, off, 5}, 5, 3},
			{"nothing is new", [3]uint64{5, 900, 900}, 5, 1},
			{"more, and two say so", [3]uint64{9, 9, 0}, 9, 2},
			{"more, and no two agree", [3]uint64{900, 12, 10}, 12, 3},
			{"the first lies, two are there", [3]uint64{900, 13, off}, 13, 3},
			{"the first has lost all, two are there", [3]uint64{0, off, 12}, 12, 3},
			{"the first has lost all, the other has more", [3]uint64{0, 20, off}, -1, 3},
			{"the first has lost all, the others have not", [3]uint64{0, 20, 20}, 20, 3},
			{"less, and two say so: a ruling", [3]uint64{15, 15, 20}, 15, 2},
			{"one alone", [3]uint64{off, off, 30}, 30, 3},
		} {
			mu.Lock()
			asked = 0
			clear(said)
			for i, us := range c.said {
				if us != off {
					said[stewards[i].ID] = us
				}
			}
			mu.Unlock()
			time.Sleep(10 * time.Second)
			synctest.Wait()
			mu.Lock()
			if got != c.want || asked != c.asked {
				t.Errorf("%s: %d after %d questions, expected %d after %d", c.what, got, asked, c.want, c.asked)
			}
			mu.Unlock()
		}
	})
}

// A job with nothing open or lent is asked about every ten minutes and not every ten seconds, and what changes then is still
// seen; news of it at once.
func TestDoneJobsAreAskedAboutLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		var mu sync.Mutex
		asked, reply := 0, &gridv1.SummaryReply{Open: 1}
		p.Answer = func(jobs.AgentID, string, any) (proto.Message, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			return proto.CloneOf(reply), nil
		}
		job := p.Admit("one", nil)
		defer p.start(nil)()
		count := func(d time.Duration) int {
			mu.Lock()
			asked = 0
			mu.Unlock()
			time.Sleep(d)
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			return asked
		}
		for _, c := range []struct {
			what string
			now  *gridv1.SummaryReply
			want int // in the ten minutes after those in which that became known
		}{
			{"open", &gridv1.SummaryReply{Open: 1}, 60},
			{"lent", &gridv1.SummaryReply{Accepted: 1, Lent: 1}, 60},
			{"done", &gridv1.SummaryReply{Accepted: 1}, 1},
			{"open again", &gridv1.SummaryReply{Open: 1}, 60},
			{"done again", &gridv1.SummaryReply{Accepted: 1}, 1},
		} {
			mu.Lock()
			reply = c.now
			mu.Unlock()
			count(10*time.Minute + time.Second)
			if n := count(10 * time.Minute); n != c.want {
				t.Errorf("%s: asked %d times, expected %d", c.what, n, c.want)
			}
		}
		p.gatherer.News(job.ID)
		if n := count(time.Minute); n < 6 || n > 8 {
			t.Errorf("a job of which there was news was asked about %d times in a minute, expected 6", n)
		}
		if n := count(9 * time.Minute); n > 2 {
			t.Errorf("a job of which there was news a minute ago was asked about %d times", n)
		}
	})
}
