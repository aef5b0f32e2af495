package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"idlegrid/jobs"
)

// failover measures how long a unit stands still whose agent was killed, on three one-slot agents of which one is idle.
func (f *figures) failover(b *testing.B) {
	const failovers = 6
	for _, leases := range []struct {
		name  string
		flags []string
	}{
		{"10 s", []string{"--lease-period", "2s", "--lease-ttl", "10s"}},
		{"60 s, the default", nil},
	} {
		g := benchGrid(b, 3, append([]string{"--cores", "1"}, leases.flags...)...)
		var took []time.Duration
		for round := range failovers {
			took = append(took, g.failover(fmt.Sprintf("failover-%d", round)))
		}
		slices.Sort(took)
		f.add("SIGKILL → its unit runs elsewhere, leases of "+leases.name, "", "%.1f s (%.1f to %.1f)",
			middle(took).Seconds(), took[0].Seconds(), took[len(took)-1].Seconds())
		b.ReportMetric(middle(took).Seconds(), leases.name[:2]+"s-lease-s")
		for _, d := range append(g.agents, g.coordinator) {
			d.kill() // The next ones want the machine for themselves.
		}
	}
}

// failover kills the agent that runs the only unit of a job, and returns how long it took until another ran it.
func (g *grid) failover(name string) time.Duration {
	g.t.Helper()
	const longUnit = 400e9 // some minutes
	job := g.job(name, 1, longUnit, "")
	id := g.submit(job)
	var victim *daemon
	g.until("an agent runs the unit", func() bool {
		i := slices.IndexFunc(g.agents, func(a *daemon) bool { return g.runs(a, id) })
		if i >= 0 {
			victim = g.agents[i]
		}
		return i >= 0
	})
	victim.kill()
	began := time.Now()
	g.until("another agent runs it", func() bool {
		return slices.ContainsFunc(g.agents, func(a *daemon) bool { return a != victim && g.runs(a, id) })
	})
	took := time.Since(began)
	g.must("gridctl", "cancel", id.String(), "--yes")
	victim.start()
	g.awaitEligible(len(g.agents))
	return took
}

// runs reports whether an agent runs a unit of a job by its own word.
func (g *grid) runs(a *daemon, id jobs.JobID) bool {
	g.t.Helper()
	var s struct{ Units []struct{ Job string } }
	out := g.run("gridagent", "status", "--state", a.state, "-o", "json")
	return out.code == 0 && json.Unmarshal([]byte(out.stdout), &s) == nil &&
		slices.ContainsFunc(s.Units, func(u struct{ Job string }) bool { return u.Job == id.String() })
}
