package coordinator

import (
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/shirou/gopsutil/v3/disk"
	"google.golang.org/grpc/codes"

	"idlegrid/agent/program/exporter"
	"idlegrid/coordinator/internal/costs"
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("idlegrid_"+name, help, labels, nil)
}

// What the coordinator knows of itself.
var (
	certificate = desc("certificate_expiry_timestamp_seconds", "When a certificate of the coordinator ends. Its own renews itself at half of "+
		"its life; of the issuing one gridcoordinator reissue makes a new one; with the root the grid ends.", "certificate")
	diskFree  = desc("state_disk_free_bytes", "What the disk with the coordinator's state folder has left for it.")
	diskSize  = desc("state_disk_size_bytes", "Size of the disk with the coordinator's state folder.")
	blobBytes = desc("coordinator_blob_bytes", "Programs, inputs and results that the coordinator keeps.")
	blobQuota = desc("coordinator_blob_quota_bytes", "What the coordinator may keep of them: max_disk_mib of coordinator.yaml.")
)

// What the accounts are to be reckoned with, as coordinator.yaml has it.
var (
	coreWatts   = desc("core_watts", "Watts that a busy core is taken to need more than an idle one: watts_per_core of coordinator.yaml.")
	energyPrice = desc("energy_price_per_kwh", "What a kWh costs, by price_per_kwh of coordinator.yaml.", "currency")
	energyCO2   = desc("energy_co2_grams_per_kwh", "CO2 of a kWh: co2_grams_per_kwh of coordinator.yaml.")
	elsewhere   = desc("elsewhere_core_hour_price", "What an hour of a core costs elsewhere: at most 20 prices of coordinator.yaml.", "name", "currency")
)

// collector reads when it is scraped. It implements prometheus.Collector.
type collector struct {
	*Coordinator
	root  time.Time // when the root's certificate ends
	costs costs.Settings
}

// Describe implements prometheus.Collector.
func (c collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{certificate, diskFree, diskSize, blobBytes, blobQuota, coreWatts, energyPrice, energyCO2, elsewhere} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	for name, ends := range map[string]time.Time{"own": c.node.Identity().Caller().NotAfter, "issuing": c.issuer, "root": c.root} {
		gauge(certificate, float64(ends.Unix()), name)
	}
	gauge(coreWatts, c.costs.WattsPerCore)
	gauge(energyPrice, c.costs.PricePerKWh, c.costs.Currency)
	gauge(energyCO2, c.costs.CO2PerKWh)
	for _, p := range c.costs.Prices {
		gauge(elsewhere, p.PerCoreHour, p.Name, c.costs.Currency)
	}
	used := c.node.Blobs.Usage()
	gauge(blobBytes, float64(used.Bytes))
	gauge(blobQuota, float64(used.Quota))
	if usage, err := disk.Usage(c.o.State); err != nil {
		to <- prometheus.NewInvalidMetric(diskFree, fmt.Errorf("look at the disk with %s: %w", c.o.State, err))
	} else {
		gauge(diskFree, float64(usage.Free))
		gauge(diskSize, float64(usage.Total))
	}
}

// newCalls counts the calls that others made here. Both labels are bounded: by what the server offers, and by gRPC.
func newCalls() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "idlegrid", Name: "rpc_calls_total", Help: "Calls that the coordinator answered, by how they ended in gRPC's words.",
	}, []string{"method", "code"})
}

// methodOf shortens the name of a method, as in Coordinator/Submit.
func methodOf(full string) string { return strings.TrimPrefix(full, "/grid.v1.") }

func (c *Coordinator) answered(method string, code codes.Code) {
	c.calls.WithLabelValues(methodOf(method), code.String()).Inc()
}

// export makes the registry of the page, of all but what is gathered.
func (c *Coordinator) export(set costs.Settings) error {
	root, err := x509.ParseCertificate(c.node.Identity().Root)
	if err != nil {
		return err
	}
	for service, info := range c.node.Server.GetServiceInfo() {
		for _, m := range info.Methods {
			c.calls.WithLabelValues(methodOf("/"+service+"/"+m.Name), codes.OK.String())
		}
	}
	c.metrics = exporter.NewRegistry(true)
	c.metrics.MustRegister(c.calls, collector{c, root.NotAfter, set})
	return nil
}
