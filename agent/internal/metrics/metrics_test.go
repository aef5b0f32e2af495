package metrics_test

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/agent/internal/metrics"
	"idlegrid/agent/internal/worker"
	"idlegrid/agent/program/exporter/exportertest"
	gridv1 "idlegrid/proto/grid/v1"
)

var update = flag.Bool("update", false, "write the table of deploy/docs/metrics.md anew")

// kept is what an agent's state folder has after some days.
const kept = `{
	"detect": {"counts": [0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0], "sum_ns": 12000000, "max_ns": 5000000},
	"stop": {"counts": [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0], "sum_ns": 31000000, "max_ns": 20000000},
	"sum": {"counts": [0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1], "sum_ns": 7043000000, "max_ns": 7000000000},
	"disturbed": {"late": 1, "swapped": 4, "stalled": 2}, "cpu_ns": 3600500000000, "units": 40, "failed_units": 2
}`

func open(t *testing.T) metrics.Source { return openFor(t, nil) }

// openFor is open for a PC whose owner can be seen; nil: it has none.
func openFor(t *testing.T, sees harvest.Signals) metrics.Source {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/harvest.json", []byte(kept), 0o600); err != nil {
		t.Fatal(err)
	}
	state, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { state.Close() })
	h, err := harvest.New(harvest.Options{
		Signals: sees, Policy: policy.Open(policy.Paths{}), State: state, Cores: 4, Machine: 4, Apply: func(harvest.Decision) error { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return metrics.Source{
		Harvest: h,
		Node: func() *gridv1.StatusReply {
			return &gridv1.StatusReply{
				Self: &gridv1.Member{Cores: 3}, Disk: &gridv1.DiskStatus{Bytes: 5 << 20, Quota: 20 << 30}, CertificateEndsMs: 1_800_000_000_500,
			}
		},
		Work: func(context.Context) (worker.Status, error) {
			return worker.Status{Running: []worker.Running{{}, {Frozen: true}, {}}}, nil
		},
	}
}

func registry(s metrics.Source) *prometheus.Registry {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(metrics.New(s))
	return r
}

func TestDocumented(t *testing.T) {
	exportertest.Documented(t, registry(open(t)), "agent", "../../../deploy/docs/metrics.md", *update)
}

// TestP9Exported: what the agent measured of promise P9 is what Prometheus gets, bucket by bucket.
func TestP9Exported(t *testing.T) {
	const want = `# HELP idlegrid_agent_units_total Units that ended here.
# TYPE idlegrid_agent_units_total counter
idlegrid_agent_units_total{result="failed"} 2
idlegrid_agent_units_total{result="ok"} 40
# HELP idlegrid_agent_useful_cpu_seconds_total CPU time of units that ended well here.
# TYPE idlegrid_agent_useful_cpu_seconds_total counter
idlegrid_agent_useful_cpu_seconds_total 3600.5
# HELP idlegrid_owner_disturbances_total Times at which the owner may have noticed work; a kind that cannot be seen on that PC is missing.
# TYPE idlegrid_owner_disturbances_total counter
idlegrid_owner_disturbances_total{kind="late"} 1
idlegrid_owner_disturbances_total{kind="stalled"} 2
idlegrid_owner_disturbances_total{kind="swapped"} 4
# HELP idlegrid_owner_reaction_seconds Both together, from an input of the owner until work stood still.
# TYPE idlegrid_owner_reaction_seconds histogram
idlegrid_owner_reaction_seconds_bucket{le="0.001"} 0
idlegrid_owner_reaction_seconds_bucket{le="0.002"} 0
idlegrid_owner_reaction_seconds_bucket{le="0.005"} 0
idlegrid_owner_reaction_seconds_bucket{le="0.01"} 1
idlegrid_owner_reaction_seconds_bucket{le="0.02"} 1
idlegrid_owner_reaction_seconds_bucket{le="0.05"} 2
idlegrid_owner_reaction_seconds_bucket{le="0.1"} 2
idlegrid_owner_reaction_seconds_bucket{le="0.25"} 2
idlegrid_owner_reaction_seconds_bucket{le="0.5"} 2
idlegrid_owner_reaction_seconds_bucket{le="1"} 2
idlegrid_owner_reaction_seconds_bucket{le="5"} 2
idlegrid_owner_reaction_seconds_bucket{le="+Inf"} 3
idlegrid_owner_reaction_seconds_sum 7.043
idlegrid_owner_reaction_seconds_count 3
`
	err := testutil.GatherAndCompare(registry(open(t)), strings.NewReader(want), "idlegrid_owner_reaction_seconds",
		"idlegrid_owner_disturbances_total", "idlegrid_agent_units_total", "idlegrid_agent_useful_cpu_seconds_total")
	if err != nil {
		t.Error(err)
	}
}

// TestNow: gauges tell what is so at the scrape.
func TestNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Harvest.Run(ctx) }()
		time.Sleep(time.Second)
		want := `# HELP idlegrid_agent_allowed_cores Cores on which work may run now, as the agent decided; not of a PC with an owner.
# TYPE idlegrid_agent_allowed_cores gauge
idlegrid_agent_allowed_cores 4
# HELP idlegrid_agent_executors Executors that have a unit now, by whether they go on; not of a PC with an owner.
# TYPE idlegrid_agent_executors gauge
idlegrid_agent_executors{state="frozen"} 1
idlegrid_agent_executors{state="running"} 2
# HELP idlegrid_agent_offered_cores Cores that the agent offers in the pool; of a PC with an owner it changes at most every ten minutes.
# TYPE idlegrid_agent_offered_cores gauge
idlegrid_agent_offered_cores 3
`
		names := []string{"idlegrid_agent_allowed_cores", "idlegrid_agent_executors", "idlegrid_agent_offered_cores"}
		if err := testutil.GatherAndCompare(registry(s), strings.NewReader(want), names...); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// person is a PC's owner, who uses it or left an hour ago.
type person struct{ here atomic.Bool }

func (*person) Changed() <-chan struct{} { return nil }

func (p *person) Observe(now time.Time) signals.Observation {
	who := signals.Session{ID: "1", Kind: signals.Graphical, Input: now.Add(-time.Hour), Reported: now}
	if p.here.Load() {
		who.Input = now
	}
	return signals.Observation{
		Sessions: signals.Reading[[]signals.Session]{Value: []signals.Session{who}, At: now}, Others: signals.Reading[float64]{At: now},
		Memory: signals.Reading[signals.Memory]{Value: signals.Memory{Total: 8 << 30, Available: 7 << 30}, At: now},
		Disk:   signals.Reading[float64]{At: now}, Power: signals.Reading[signals.Power]{None: true},
		Temperature: signals.Reading[float64]{None: true}, Presenting: signals.Reading[bool]{At: now},
		Programs: signals.Reading[[]string]{At: now}, Metered: signals.Reading[bool]{At: now},
	}
}

// TestOfAnOwnerNothingOfNow: from the page of a PC with an owner nobody can tell whether somebody uses it, or whether
// units run or stand still.
func TestOfAnOwnerNothingOfNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &person{}
		s := openFor(t, p)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Harvest.Run(ctx) }()
		page := func() string {
			w := httptest.NewRecorder()
			promhttp.HandlerFor(registry(s), promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			return w.Body.String()
		}
		time.Sleep(10 * time.Minute)
		away := page()
		if c := s.Harvest.Status().Decision.Cores; c != 4 || !strings.Contains(away, "idlegrid_owner_detect_seconds_count 3") {
			t.Fatalf("%d cores while nobody is here:\n%s", c, away)
		}
		s.Harvest.Working(true)
		s.Harvest.Ended(time.Minute, false)
		p.here.Store(true)
		time.Sleep(time.Minute)
		if c := s.Harvest.Status().Decision.Cores; c != 0 {
			t.Fatalf("%d cores while somebody types", c)
		}
		if here := page(); here != away {
			t.Errorf("while somebody types the page is\n%s\nand before it was\n%s", here, away)
		}
		for _, name := range []string{"allowed_cores", "executors"} {
			if strings.Contains(away, name) {
				t.Errorf("the page tells %s", name)
			}
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestWithoutWork: an agent that runs nothing has no metrics of work; one whose worker does not answer says so and tells
// the rest.
func TestWithoutWork(t *testing.T) {
	s := open(t)
	s.Harvest, s.Work = nil, nil
	if n, err := testutil.GatherAndCount(registry(s)); n != 4 || err != nil {
		t.Errorf("%d metrics, %v, expected those of the node", n, err)
	}
	s.Work = func(context.Context) (worker.Status, error) { return worker.Status{}, errors.New("it hangs") }
	families, err := registry(s).Gather()
	if err == nil || !strings.Contains(err.Error(), "it hangs") || len(families) != 4 {
		t.Errorf("%d families, %v", len(families), err)
	}
}
