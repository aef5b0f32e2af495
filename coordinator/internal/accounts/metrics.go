package accounts

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
)

// maxShown bounds the submitters with series of their own. The others are one together.
const (
	maxShown = 100
	others   = "other"
)

// series is a counter: the name of its metric and the values of its labels.
type series string

func seriesOf(metric string, labels ...string) series {
	return series(strings.Join(append([]string{metric}, labels...), "\x00"))
}

// The metrics, by their names in series.
const (
	metricCPU       = "cpu"
	metricUnits     = "units"
	metricOffered   = "offered"
	metricSubmitter = "submitter"
)

// micro is what a second has.
const micro = 1e6

// exported is how a metric is shown.
type exported struct {
	desc *prometheus.Desc
	unit float64 // what its counters have for one of the metric
}

var exports = map[string]exported{
	metricCPU: {prometheus.NewDesc("idlegrid_cpu_seconds_total",
		"CPU time that reports tell of, by what became of it.", []string{"use", "runtime"}, nil), micro},
	metricUnits: {prometheus.NewDesc("idlegrid_units_total",
		"Runs of units that ended, by what became of them.", []string{"result"}, nil), 1},
	metricOffered: {prometheus.NewDesc("idlegrid_offered_core_seconds_total",
		"Time of cores that agents offered while the coordinator was on.", nil, nil), micro},
	metricSubmitter: {prometheus.NewDesc("idlegrid_submitter_cpu_seconds_total",
		"CPU time by submitter, with metrics_submitters only: of the hundred with most, and of all others.", []string{"submitter", "use"}, nil), micro},
}

// results are the words for runs of units.
var results = map[ledger.Use]string{ledger.UsefulCPU: "accepted", ledger.RepeatedCPU: "repeated", ledger.FailedCPU: "failed"}

// Describe implements prometheus.Collector.
func (b *Book) Describe(ch chan<- *prometheus.Desc) {
	for name, e := range exports {
		if name != metricSubmitter || b.o.Submitters {
			ch <- e.desc
		}
	}
}

// Collect implements prometheus.Collector.
func (b *Book) Collect(ch chan<- prometheus.Metric) {
	shown := b.shown.Load()
	if shown == nil {
		return
	}
	for s, n := range *shown {
		parts := strings.Split(string(s), "\x00")
		if e, known := exports[parts[0]]; known && (parts[0] != metricSubmitter || b.o.Submitters) {
			ch <- prometheus.MustNewConstMetric(e.desc, prometheus.CounterValue, float64(n)/e.unit, parts[1:]...)
		}
	}
}

// count returns the counters: of totals and of those live jobs that are not in them, never less than before, and what was
// offered on top.
func (b *Book) count(totals map[whose]total, folding map[jobs.JobID]*job) map[series]uint64 {
	now := map[series]uint64{seriesOf(metricOffered): b.counters[seriesOf(metricOffered)]}
	for _, us := range b.pending {
		now[seriesOf(metricOffered)] += us
	}
	sums := maps.Clone(totals)
	for id, j := range b.jobs {
		if _, folds := folding[id]; !folds {
			sums[j.whose] = sums[j.whose].with(j)
		}
	}
	for u := range ledger.Uses { // so that there is a zero of each
		now[seriesOf(metricCPU, ledger.Use(u).String(), manifest.RuntimeWasm)] = 0
	}
	for _, word := range results {
		now[seriesOf(metricUnits, word)] = 0
	}
	people := map[string]ledger.Spend{others: {}}
	for w, t := range sums {
		for u := range ledger.Uses {
			now[seriesOf(metricCPU, ledger.Use(u).String(), w.runtime)] += t.CPU[u]
		}
		for u, word := range results {
			now[seriesOf(metricUnits, word)] += t.Runs[u]
		}
		name := Name(w.submitter, t.owner)
		sum := people[name]
		sum.Add(t.Spend)
		people[name] = sum
	}
	bySubmitter(people, now)
	for s, n := range now {
		now[s] = max(n, b.counters[s])
	}
	for s, n := range b.counters {
		if _, counted := now[s]; !counted && !strings.HasPrefix(string(s), metricSubmitter) {
			now[s] = n // of a runtime of which nothing is left
		}
	}
	return now
}

// Name is what a submitter is called: as its certificate names its owner, or by its key. A certificate that was given no
// owner names the key.
func Name(submitter jobs.KeyID, owner string) string {
	switch {
	case owner != "" && owner != submitter.String():
		return owner
	case submitter.IsZero():
		return others
	}
	return submitter.Short()
}

// bySubmitter adds the counters of the submitters with most, and of the rest together.
func bySubmitter(people map[string]ledger.Spend, to map[series]uint64) {
	names := slices.SortedFunc(maps.Keys(people), func(x, y string) int {
		a, b := people[x], people[y]
		return cmp.Or(cmp.Compare(b.Total(), a.Total()), cmp.Compare(x, y))
	})
	names = append(slices.DeleteFunc(names, func(name string) bool { return name == others }), others)
	for i, name := range names {
		label := name
		if i >= maxShown {
			label = others
		}
		for u, us := range people[name].CPU {
			to[seriesOf(metricSubmitter, label, ledger.Use(u).String())] += us
		}
	}
}
