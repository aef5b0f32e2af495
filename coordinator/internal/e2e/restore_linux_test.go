package e2e_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// ownHost is a loopback address of which nobody else takes ports meanwhile.
const ownHost = "127.7.7.7"

// back is how soon a coordinator that has only its keys knows again what the agents know.
const back = 2 * time.Minute

// TestP7CoordinatorFromItsKeys takes the coordinator's disk away while a job runs and another is done, and puts its
// three keys into an empty folder: the running job does not notice, and two minutes later jobs, states and totals
// are what they were, a token of before is void, and somebody new can join and submit.
func TestP7CoordinatorFromItsKeys(t *testing.T) {
	t.Parallel()
	g := emptyGrid(t, patience)
	g.coordinator.flags = []string{"--metrics", "127.0.0.1:0", "--listen", ownHost + ":0"}
	g.coordinator.start()
	used := g.token("--role", "submitter", "--owner", "bob")
	g.submitter = "bob"
	g.must("gridctl", "login", used)
	for range 3 {
		g.addAgent(always)
	}
	g.awaitEligible(3)

	done, long := g.job("done", 20, 20e6, ""), g.job("long", 400, 200e6, "")
	g.must("gridctl", "run", done, "-d", "local")
	g.must("gridctl", "results", g.submit(done).String(), "--wait", "-d", "before")
	id := g.submit(long)
	g.until("the long job has begun", func() bool { return g.status("long").Accepted > 0 })
	g.until("the totals are shown", func() bool { return g.metric(`live_job_units{status="accepted"}`) > 20 })

	address := g.coordinator.addresses().Grid
	g.coordinator.kill()
	g.onlyKeys()
	soon := g.status("long").Accepted
	g.until("the long job goes on", func() bool { return g.status("long").Accepted > soon })
	g.coordinator.flags = append(g.coordinator.flags, "--listen", address)
	began := time.Now()
	g.coordinator.start()
	g.until("jobs and totals are back", func() bool {
		return g.metric("live_jobs") == 2 && g.metric(`live_job_units{status="accepted"}`) > 20
	})
	took := time.Since(began)
	t.Logf("jobs and totals were back after %s", took.Round(time.Millisecond))
	if took > back {
		t.Errorf("jobs and totals were back after %s", took)
	}
	if log := g.coordinator.log(); !strings.Contains(log, "no limits file") || !strings.Contains(log, "no grid.json here") {
		t.Error("the log does not say what the folder lacks")
	}

	g.submitter = "carol"
	g.exits(1, "gridctl", "login", used).says(t, "older than the coordinator's disk", "hint: ask the operator for a new one")
	g.must("gridctl", "login", g.token("--role", "submitter", "--owner", "carol"))
	g.addAgent(always)
	g.awaitEligible(4)
	g.must("gridctl", "results", g.submit(g.job("after", 4, 20e6, "")).String(), "--wait", "-d", "after")
	g.submitter = "bob"
	g.must("gridctl", "results", "done", "-d", "again")
	g.sameUnits("again", "local")
	g.must("gridctl", "cancel", id.String(), "--yes")
}

// onlyKeys empties the coordinator's folder but for the files of a backup.
func (g *grid) onlyKeys() {
	g.t.Helper()
	backup := map[string][]byte{}
	for _, name := range []string{"key.pem", "issuing.pem", "root.pem"} {
		text, err := os.ReadFile(filepath.Join(g.coordinator.state, name))
		if err != nil {
			g.t.Fatal(err)
		}
		backup[name] = text
	}
	if err := os.RemoveAll(g.coordinator.state); err != nil {
		g.t.Fatal(err)
	}
	if err := os.Mkdir(g.coordinator.state, 0o700); err != nil {
		g.t.Fatal(err)
	}
	for name, text := range backup {
		if err := os.WriteFile(filepath.Join(g.coordinator.state, name), text, 0o600); err != nil {
			g.t.Fatal(err)
		}
	}
}

// metric returns a number of the coordinator's page, or -1 while it shows none.
func (g *grid) metric(name string) float64 {
	g.t.Helper()
	text := metric(g.coordinator.scrape(), "idlegrid_"+name)
	if text == "" {
		return -1
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		g.t.Fatal(err)
	}
	return value
}

// TestP5CancelStopsUnits cancels a job of which a long unit runs on each of three agents: none runs a few seconds
// later, and none starts again.
func TestP5CancelStopsUnits(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always, always)
	id := g.submit(g.job("endless", 60, 1e12, ""))
	running := func() (n int) {
		for _, a := range g.agents {
			n += len(g.agentStatus(a).Units)
		}
		return n
	}
	g.until("all agents are at work", func() bool { return running() == 3 })
	began := time.Now()
	g.must("gridctl", "cancel", id.String(), "--yes")
	said := time.Now()
	g.until("no unit runs", func() bool { return running() == 0 })
	took := time.Since(said)
	t.Logf("gridctl took %s, the last unit was seen stopped %s later", said.Sub(began).Round(time.Millisecond), took.Round(time.Millisecond))
	if took > 10*time.Second {
		t.Errorf("the last unit stopped %s after the cancel", took)
	}
	if s := g.status(id.String()); s.State != "cancelled" || s.Open != 0 {
		t.Errorf("status: %+v", s)
	}
	for _, a := range g.agents {
		if s := g.agentStatus(a); len(s.Units) > 0 {
			t.Errorf("%s runs %v again", a.name, s.Units)
		}
	}
}
