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
	jobs, cores prometheus.Gauge
	agents      *prometheus.GaugeVec
	units       *prometheus.GaugeVec
	useful, cpu prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) metrics {
	f := promauto.With(r)
	gauge := func(name, help string) prometheus.Gauge {
		return f.NewGauge(prometheus.GaugeOpts{Namespace: "idlegrid", Name: name, Help: help})
	}
	vec := func(name, help, label string) *prometheus.GaugeVec {
		return f.NewGaugeVec(prometheus.GaugeOpts{Namespace: "idlegrid", Name: name, Help: help}, []string{label})
	}
	return metrics{
		jobs:   gauge("live_jobs", "Jobs that have not expired."),
		cores:  gauge("offered_cores", "Cores that agents offer now."),
		agents: vec("agents", "Agents in the pool.", "class"),
		units:  vec("live_job_units", "Units of live jobs.", "status"),
		useful: gauge("live_job_useful_cpu_seconds", "CPU time of the accepted outcomes of live jobs."),
		cpu:    gauge("live_job_cpu_seconds", "CPU time of all reported runs of live jobs."),
	}
}

func (m metrics) show(live int, members []peer.Member, shards map[jobs.ShardID]*gridv1.SummaryReply) {
	m.jobs.Set(float64(live))
	cores := 0
	classes := map[peer.Class]int{peer.AlwaysOn: 0, peer.Office: 0, peer.Laptop: 0}
	for _, a := range members {
		if a.Role == peer.Agent {
			cores += a.Cores
			classes[a.Class]++
		}
	}
	m.cores.Set(float64(cores))
	for class, n := range classes {
		m.agents.WithLabelValues(class.String()).Set(float64(n))
	}
	units := map[ledger.Status]uint64{}
	var useful, cpu uint64
	for _, s := range shards {
		units[ledger.Open] += s.GetOpen()
		units[ledger.Accepted] += s.GetAccepted()
		units[ledger.Failed] += s.GetFailed()
		units[ledger.Conflict] += s.GetConflict()
		units[ledger.Sealed] += s.GetSealed()
		units[ledger.Dead] += s.GetDead()
		useful += s.GetUsefulCpuUs()
		cpu += s.GetCpuUs()
	}
	for _, status := range []ledger.Status{ledger.Open, ledger.Accepted, ledger.Failed, ledger.Conflict, ledger.Sealed, ledger.Dead} {
		m.units.WithLabelValues(status.String()).Set(float64(units[status]))
	}
	m.useful.Set(float64(useful) / 1e6)
	m.cpu.Set(float64(cpu) / 1e6)
}
