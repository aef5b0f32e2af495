package exporter

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"idlegrid/jobs"
)

// prefix is what our own metrics begin with; those of Go and of the process have docs elsewhere.
const prefix = "idlegrid_"

// Table writes the metrics that g gathers, those of the process and of Go aside, as rows of Markdown, by name.
func Table(g prometheus.Gatherer) (string, error) {
	families, err := g.Gather()
	if err != nil {
		return "", fmt.Errorf("gather metrics: %w", err)
	}
	out := "| metric | kind | labels | meaning |\n|---|---|---|---|\n"
	for _, f := range families {
		if strings.HasPrefix(f.GetName(), prefix) {
			out += fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), labelsOf(f), f.GetHelp())
		}
	}
	return out, nil
}

// labelsOf writes the labels of a family with all values that they have.
func labelsOf(f *dto.MetricFamily) string {
	values := map[string][]string{}
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(values[l.GetName()], l.GetValue()) {
				values[l.GetName()] = append(values[l.GetName()], l.GetValue())
			}
		}
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		all = append(all, fmt.Sprintf("%s: %s", name, strings.Join(values[name], ", ")))
	}
	return strings.Join(all, "; ")
}

// Document returns a text in which a table stands between the marks of a daemon, `<!-- metrics of NAME -->` and
// `<!-- end -->`, instead of what stood there.
func Document(text, daemon, table string) (string, error) {
	begin, end := "<!-- metrics of "+daemon+" -->\n", "<!-- end -->\n"
	before, rest, ok := strings.Cut(text, begin)
	_, after, closed := strings.Cut(rest, end)
	if !ok || !closed {
		return "", jobs.Errorf(jobs.Invalid, "the text lacks the line %q, or the line %q after it", begin[:len(begin)-1], end[:len(end)-1])
	}
	return before + begin + "\n" + table + "\n" + end + after, nil
}
