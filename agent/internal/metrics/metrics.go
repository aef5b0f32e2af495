// Package metrics tells Prometheus what an agent does: how fast it makes way for its PC's owner (promise P9), and what it
// harvests.
//
// It reads when it is scraped, so that an agent that nobody asks does nothing for it. Counters and histograms are what
// the owner's side has on disk: they go on after a restart, and a kill never sets them back, which Prometheus would take
// for a beginning from zero.
//
// Of a PC with an owner it tells nothing by which somebody could follow when that person comes and goes: the figures are
// those of the days before today, and what is so now is left out, beyond the cores offered.
package metrics

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/worker"
	gridv1 "idlegrid/proto/grid/v1"
)

// workTimeout bounds the question to the worker.
const workTimeout = 2 * time.Second

// Source is what a Collector reads.
type Source struct {
	Node    func() *gridv1.StatusReply
	Harvest *harvest.Harvest                                 // nil: nothing decides how much may run
	Work    func(ctx context.Context) (worker.Status, error) // nil: nothing runs here
}

// Collector implements prometheus.Collector.
type Collector struct{ s Source }

// New returns a collector for an agent.
func New(s Source) *Collector { return &Collector{s} }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("idlegrid_"+name, help, labels, nil)
}

// The metrics. Those of the owner's side are about people: see deploy/docs/metrics.md.
var (
	detect    = desc("owner_detect_seconds", "From an input of the owner to the decision that work must stop.")
	stop      = desc("owner_stop_seconds", "From a decision for fewer cores until the last executor that had to stop stood still.")
	reaction  = desc("owner_reaction_seconds", "Both together, from an input of the owner until work stood still.")
	disturbed = desc("owner_disturbances_total", "Times at which the owner may have noticed work; a kind that cannot be seen on that PC is missing.", "kind")

	allowed = desc("agent_allowed_cores", "Cores on which work may run now, as the agent decided; not of a PC with an owner.")
	offered = desc("agent_offered_cores", "Cores that the agent offers in the pool; of a PC with an owner it changes at most every ten minutes.")
	useful  = desc("agent_useful_cpu_seconds_total", "CPU time of units that ended well here.")
	units   = desc("agent_units_total", "Units that ended here.", "result")
	running = desc("agent_executors", "Executors that have a unit now, by whether they go on; not of a PC with an owner.", "state")

	blobBytes   = desc("agent_blob_bytes", "Programs, inputs, results and checkpoints that are kept here.")
	blobQuota   = desc("agent_blob_quota_bytes", "What may be kept here; 0: there is no limit.")
	certificate = desc("agent_certificate_expiry_timestamp_seconds", "When the agent's certificate ends; it renews itself at half of its life.")
)

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		detect, stop, reaction, disturbed, allowed, offered, useful, units, running, blobBytes, blobQuota, certificate,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	n := c.s.Node()
	gauge(to, offered, float64(n.GetSelf().GetCores()))
	gauge(to, blobBytes, float64(n.GetDisk().GetBytes()))
	gauge(to, blobQuota, float64(n.GetDisk().GetQuota()))
	gauge(to, certificate, float64(n.GetCertificateEndsMs())/1000)
	if c.s.Harvest != nil {
		c.owner(to)
	}
	if c.s.Work != nil && !c.owned() {
		c.work(to)
	}
}

func (c *Collector) owned() bool { return c.s.Harvest != nil && c.s.Harvest.HasOwner() }

func (c *Collector) owner(to chan<- prometheus.Metric) {
	f, s := c.s.Harvest.Shown(time.Now()), c.s.Harvest.Status()
	histogram(to, detect, &f.Detect)
	histogram(to, stop, &f.Stop)
	histogram(to, reaction, &f.Sum)
	for _, kind := range harvest.Disturbances() {
		if !s.Unknown(kind) {
			counter(to, disturbed, float64(f.Disturbed[kind]), string(kind))
		}
	}
	counter(to, useful, f.CPU.Seconds())
	counter(to, units, float64(f.Units), "ok")
	counter(to, units, float64(f.Failed), "failed")
	if !c.owned() {
		gauge(to, allowed, float64(s.Decision.Cores))
	}
}

func (c *Collector) work(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), workTimeout)
	defer cancel()
	s, err := c.s.Work(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(running, err)
		return
	}
	frozen := 0
	for _, r := range s.Running {
		if r.Frozen {
			frozen++
		}
	}
	gauge(to, running, float64(len(s.Running)-frozen), "running")
	gauge(to, running, float64(frozen), "frozen")
}

func gauge(to chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
}

func counter(to chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, value, labels...)
}

// histogram tells a histogram as Prometheus has them: each bucket counts all that was not longer.
func histogram(to chan<- prometheus.Metric, d *prometheus.Desc, h *harvest.Histogram) {
	buckets, sum := map[float64]uint64{}, uint64(0)
	for i, bound := range harvest.Bounds() {
		sum += h.Counts[i]
		buckets[bound.Seconds()] = sum
	}
	to <- prometheus.MustNewConstHistogram(d, h.Count(), h.Sum.Seconds(), buckets)
}
