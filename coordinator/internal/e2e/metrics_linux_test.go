package e2e_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"idlegrid/agent/program/exporter/exportertest"
)

// scrape returns a daemon's page for Prometheus; nothing while it does not run.
func (d *daemon) scrape() string {
	d.g.t.Helper()
	resp, err := http.Get("http://" + d.addresses().Metrics + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close() // It was read.
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil || resp.StatusCode != http.StatusOK {
		d.g.t.Fatalf("%s, %v: %s", resp.Status, err, text)
	}
	return string(text)
}

// metric returns the value of a line of a page; empty: there is none.
func metric(page, name string) string {
	for line := range strings.Lines(page) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// TestAgentMetrics: the page of an agent that works is by Prometheus's conventions, and what it counts goes on after a
// restart.
func TestAgentMetrics(t *testing.T) {
	const units, cpu = `idlegrid_agent_units_total{result="ok"}`, "idlegrid_agent_useful_cpu_seconds_total"
	g := newGrid(t)
	g.addAgent(always, "--cores", "1", "--metrics", "127.0.0.1:0")
	g.awaitEligible(1)
	a := g.agents[0]
	id := g.submit(g.job("small", 5, 1_000_000, "")).String()
	g.until("the job is done", func() bool {
		s := g.status(id)
		return s.Accepted == s.Units
	})
	a.stop()
	a.start()
	page := a.scrape()
	exportertest.Lint(t, page)
	if metric(page, units) != "5" || metric(page, cpu) == "0" || metric(page, cpu) == "" {
		t.Errorf("after a restart: %s units, %s CPU s", metric(page, units), metric(page, cpu))
	}
	for _, name := range []string{
		"go_goroutines", "process_cpu_seconds_total", "idlegrid_owner_detect_seconds_count", "idlegrid_owner_stop_seconds_count",
		"idlegrid_agent_blob_bytes", `idlegrid_agent_executors{state="frozen"}`, "idlegrid_agent_offered_cores",
	} {
		if metric(page, name) == "" {
			t.Errorf("the page lacks %s", name)
		}
	}
}

// TestMetricsOfAPC: the page of a PC with an owner is the same before and after that person comes, but for the bytes that
// are kept, and the cores that are offered, when ten minutes are over.
func TestMetricsOfAPC(t *testing.T) {
	g := newGrid(t)
	p := g.addPC(office, "--metrics", "127.0.0.1:0")
	g.awaitEligible(1)
	g.submit(g.job("stream", 5, 4_000_000_000, ""))
	p.works("the owner is away")
	page := func() string {
		text := p.agent.scrape()
		for _, name := range []string{"idlegrid_agent_blob_bytes", "idlegrid_agent_offered_cores"} {
			text = strings.ReplaceAll(text, name+" "+metric(text, name)+"\n", "")
		}
		return text
	}
	before := page()
	p.types()
	p.stands("the owner types")
	p.tells("why", "in use")
	after := page()
	exportertest.Lint(t, p.agent.scrape())
	if after != before || metric(before, "idlegrid_owner_reaction_seconds_count") != "0" {
		t.Errorf("before the owner came:\n%s\nafter:\n%s", before, after)
	}
}
