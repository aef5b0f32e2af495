// Package exportertest is for tests of daemons that have metrics: are they documented, and by Prometheus's conventions?
package exportertest

import (
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"idlegrid/agent/program/exporter"
)

// Documented fails the test unless a file has the table of a daemon's metrics as g gathers them; with update it writes
// the table there.
func Documented(t testing.TB, g prometheus.Gatherer, daemon, file string, update bool) {
	t.Helper()
	table, err := exporter.Table(g)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, err := exporter.Document(string(text), daemon, table)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	if want == string(text) {
		return
	}
	if !update {
		t.Errorf("%s has another table of the %s's metrics (go test -update writes it):\n%s", file, daemon, table)
		return
	}
	if err := os.WriteFile(file, []byte(want), 0o600); err != nil { //nolint:gosec // The test names its own file.
		t.Fatal(err)
	}
}

// Lint fails the test for whatever Prometheus's linter finds in a page.
func Lint(t testing.TB, page string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(page)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
