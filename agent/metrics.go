package agent

import (
	"idlegrid/agent/internal/metrics"
	"idlegrid/agent/program/exporter"
)

// export makes what the page for Prometheus shows, if there is to be one.
func (a *Agent) export() {
	if a.o.Metrics == nil {
		return
	}
	s := metrics.Source{Node: a.node.Status, Harvest: a.harvest}
	if a.worker != nil {
		s.Work = a.worker.Status
	}
	a.registry = exporter.NewRegistry(!a.owned) // how busy the agent is follows its owner
	a.registry.MustRegister(metrics.New(s))
}

// MetricsAddress returns where the page for Prometheus is; empty: there is none.
func (a *Agent) MetricsAddress() string {
	if a.o.Metrics == nil {
		return ""
	}
	return a.o.Metrics.Addr().String()
}
