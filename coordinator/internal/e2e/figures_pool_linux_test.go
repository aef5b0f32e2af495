package e2e_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"idlegrid/jobs"
)

const (
	// poolLooks is how long the coordinator is watched in each state, and poolCalm for how long nothing happens before.
	poolLooks = 3 * time.Minute
	poolCalm  = 2 * time.Minute
	scrapes   = 50
)

// pool measures what 500 agents, or BENCH_AGENTS, cost the coordinator, without jobs, and with as many as there may be live,
// of which all agents run some. It is a process by itself, so that its CPU time and memory are its own; the agents are
// simulated in this one, over the loopback device with mutual TLS. See stewards for what they do.
//
// 500 members in one process want a core to themselves while they find each other: on a machine that others kept busy (load
// 18) only 441 had come after eight minutes; on a quiet one all have within two.
func (f *figures) pool(b *testing.B) {
	agents := 500
	if text := os.Getenv("BENCH_AGENTS"); text != "" {
		var err error
		if agents, err = strconv.Atoi(text); err != nil {
			b.Fatalf("BENCH_AGENTS: %v", err)
		}
	}
	percent := debug.SetGCPercent(400)
	b.Cleanup(func() { debug.SetGCPercent(percent) })
	g := emptyGrid(b, 4*time.Hour)
	g.coordinator.flags = []string{"--metrics", "127.0.0.1:0"}
	g.coordinator.start()
	g.must("gridctl", "login", g.token("--role", "submitter", "--owner", alice))
	p := &stewards{g: g, began: time.Now(), running: map[jobs.JobID]int{}}
	for i := range agents {
		p.join(i)
	}
	g.awaitMost(agents)
	g.wait(poolCalm)
	f.watch(p, fmt.Sprintf("the coordinator of %d agents, idle", agents), "idle")

	g.coordinator.stop()
	p.admit()
	g.coordinator.start()
	g.awaitMost(agents)
	g.until("all jobs were asked for", func() bool {
		return metric(g.coordinator.scrape(), `idlegrid_live_job_units{status="accepted"}`) == strconv.Itoa(poolJobs*jobUnits-poolRuns*jobUnits/2)
	})
	g.wait(poolCalm) // all are handed over again, as after each start
	f.watch(p, fmt.Sprintf("the same at %d live jobs, of which %d run", poolJobs, poolRuns), "jobs")
	f.scrape(b, g)
}

// scrape measures the coordinator's page for Prometheus.
func (f *figures) scrape(b *testing.B, g *grid) {
	pid := []int{g.coordinator.cmd.Process.Pid}
	before := g.costs(pid)
	var took []time.Duration
	size := 0
	for range scrapes {
		began := time.Now()
		size = len(g.coordinator.scrape())
		took = append(took, time.Since(began))
	}
	cpu := float64(g.costs(pid)[0].ticks-before[0].ticks) * 10 / scrapes
	f.add("/metrics then: size", "", "%d bytes", size)
	f.add(fmt.Sprintf("the same: time, the median of %d; CPU time", scrapes), "50 ms", "%.1f ms; %.1f ms", middle(took).Seconds()*1000, cpu)
	b.ReportMetric(middle(took).Seconds()*1000, "metrics-ms")
	b.ReportMetric(float64(size), "metrics-bytes")
}

// awaitMost waits until the coordinator knows 19 in 20 of so many agents: where a machine is busy with other things, some
// are always late with an answer, and count as gone for a while.
func (g *grid) awaitMost(agents int) {
	g.t.Helper()
	g.until(fmt.Sprintf("the coordinator knows most of %d agents", agents), func() bool {
		return len(g.members(g.coordinator)) > agents*19/20
	})
}

// watch measures the coordinator for a while.
func (f *figures) watch(p *stewards, what, name string) {
	g, w := p.g, &p.wire
	pid := []int{g.coordinator.cmd.Process.Pid}
	before, bytes, began := g.costs(pid), w.bytes.Load(), time.Now()
	g.wait(poolLooks)
	length := time.Since(began).Seconds()
	cpu := float64(g.costs(pid)[0].ticks-before[0].ticks) / length // hundredths of a second in a second: per cent
	rate := float64(w.bytes.Load()-bytes) / length
	memory := float64(g.memory(pid[0], "Rss:")) / 1024
	here := len(g.members(g.coordinator)) - 1
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		g.t.Fatal(err)
	}
	fiveMinutes := strings.Fields(string(load))[1]
	f.add(fmt.Sprintf("%s, %s (%d there at the end, load %s): CPU", what, poolLooks, here, fiveMinutes), "5 % of a core", "%.2f %%", cpu)
	f.add("the same: memory", "150 MiB", "%.0f MiB", memory)
	f.add("the same: both ways, TLS included", "", "%.0f bytes a second", rate)
	g.t.(*testing.B).ReportMetric(cpu, name+"-cpu-%")
	g.t.(*testing.B).ReportMetric(memory, name+"-MiB")
	g.t.(*testing.B).ReportMetric(rate, name+"-B/s")
}
