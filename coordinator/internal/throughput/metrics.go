package throughput

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

// metrics are gauges over the live jobs: they go down when a job is forgotten.
type metrics struct {
	jobs, cores, lent prometheus.Gauge
	agents, reachable *prometheus.GaugeVec
	units             *prometheus.GaugeVec
	blobs             *prometheus.GaugeVec
	rounds            prometheus.Histogram
	silent            prometheus.Counter
}

func newMetrics(r prometheus.Registerer) metrics {
	f := promauto.With(r)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "idlegrid", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "idlegrid", Name: name, Help: help}, []string{label})
	}
	m := metrics{
		jobs:      gauge("live_jobs", "Jobs that have not expired."),
		cores:     gauge("offered_cores", "Cores that agents offer now."),
		lent:      gauge("live_job_lent_units", "Units of live jobs that agents have borrowed to run them."),
		agents:    vec("agents", "Agents in the pool.", "class"),
		reachable: vec("reachable_agents", "Agents that keep ledgers and blobs: another could reach them, and they are not about to leave.", "class"),
		units:     vec("live_job_units", "Units of live jobs.", "status"),
		blobs: vec("live_job_blobs", "Programs, inputs and results of live jobs, as their stewards last counted the copies: enough, few, or none "+
			"on an agent that can be reached.", "copies"),
		rounds: f.NewHistogram(prometheus.HistogramOpts{
			Namespace: "idlegrid", Name: "gather_duration_seconds", Help: "How long it took to ask the stewards of the live jobs.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30, 60},
		}),
		silent: f.NewCounter(prometheus.CounterOpts{
			Namespace: "idlegrid", Name: "gather_failures_total", Help: "Parts of jobs that no steward answered for when it was asked.",
		}),
	}
	m.show(0, nil, nil)
	return m
}

func (m metrics) show(live int, members []peer.Member, shards map[jobs.ShardID]*gridv1.SummaryReply) {
	m.jobs.Set(float64(live))
	agents, reachable := map[peer.Class]int{}, map[peer.Class]int{}
	for _, a := range members {
		if a.Role == peer.Agent {
			agents[a.Class]++
		}
		if a.Eligible() {
			reachable[a.Class]++
		}
	}
	m.cores.Set(float64(offered(members)))
	for class := peer.AlwaysOn; class <= peer.Laptop; class++ {
		m.agents.WithLabelValues(class.String()).Set(float64(agents[class]))
		m.reachable.WithLabelValues(class.String()).Set(float64(reachable[class]))
	}
	units := map[ledger.Status]uint64{}
	var blobs peer.BlobCounts
	var lent uint64
	for _, s := range shards {
		units[ledger.Open] += s.GetOpen()
		units[ledger.Accepted] += s.GetAccepted()
		units[ledger.Failed] += s.GetFailed()
		units[ledger.Conflict] += s.GetConflict()
		units[ledger.Sealed] += s.GetSealed()
		units[ledger.Dead] += s.GetDead()
		lent += s.GetLent()
		blobs.Enough += s.GetBlobs().GetEnough()
		blobs.Few += s.GetBlobs().GetFew()
		blobs.None += s.GetBlobs().GetNone()
	}
	for _, status := range []ledger.Status{ledger.Open, ledger.Accepted, ledger.Failed, ledger.Conflict, ledger.Sealed, ledger.Dead} {
		m.units.WithLabelValues(status.String()).Set(float64(units[status]))
	}
	m.lent.Set(float64(lent))
	for copies, n := range map[string]uint64{"enough": blobs.Enough, "few": blobs.Few, "none": blobs.None} {
		m.blobs.WithLabelValues(copies).Set(float64(n))
	}
}

// offered returns how many cores agents offer.
func offered(members []peer.Member) (cores int) {
	for _, m := range members {
		if m.Role == peer.Agent {
			cores += m.Cores
		}
	}
	return cores
}
