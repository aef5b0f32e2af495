package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestLeave: three agents run a job; two leave for good, one after the other, and the results can still be read
// from a newcomer. A folder that was left joins again.
func TestLeave(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always)
	job := g.job("leaving", 40, 20e6, "")
	g.must("gridctl", "run", job, "-d", "local")
	id := g.submit(job)
	g.must("gridctl", "results", id.String(), "--wait", "-d", "before")
	g.addAgent(always)
	g.awaitEligible(3)
	for _, a := range g.agents[:2] {
		g.must("gridagent", "leave", "--state", a.state).says(t, "left the grid; "+a.state+" can join again")
		<-a.ended
		if code := a.cmd.ProcessState.ExitCode(); code != 0 {
			t.Errorf("%s: exit code %d", a.name, code)
		}
		left, err := os.ReadDir(a.state)
		if err != nil {
			t.Fatal(err)
		}
		if len(left) > 0 {
			t.Errorf("%s is not empty: %v", a.state, left)
		}
	}
	g.must("gridctl", "results", id.String(), "-d", "after")
	g.sameUnits("after", "local")

	// The last one has nobody to hand over to.
	last := g.agents[2]
	g.exits(1, "gridagent", "leave", "--state", last.state, "--timeout", "2s").
		says(t, "to hand over: ", "not handed over in time: ", "hint: the agent goes on; ")
	if s := g.agentStatus(last); !s.Running || s.Draining != "" {
		t.Errorf("status after a leave that did not work: %+v", s)
	}

	again := g.agents[0]
	g.must("gridagent", "join", "--state", again.state, g.token("--class", always))
	again.start()
	g.agents = []*daemon{again, last}
	g.awaitEligible(2)
	g.must("gridagent", "leave", "--state", last.state)
	<-last.ended
	g.must("gridctl", "results", id.String(), "-d", "again")
	g.sameUnits("again", "local")
}

// agentStatus is what `gridagent status` says in JSON.
func (g *grid) agentStatus(a *daemon) (s struct {
	Running  bool
	ID       string
	Draining string `json:"draining_why"`
	Slots    int
	Units    []struct{ Name, Owner string }
	Idle     []string
},
) {
	g.t.Helper()
	out := g.must("gridagent", "status", "--state", a.state, "-o", "json")
	if err := json.Unmarshal([]byte(out.stdout), &s); err != nil {
		g.t.Fatal(err)
	}
	return s
}

// TestAgentStatus asks agents how they are: at work, idle, refusing, and gone without a farewell.
func TestAgentStatus(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, office)
	working, refusing := g.agents[0], g.agents[1]
	if s := g.agentStatus(working); s.Slots != 1 || !slices.Equal(s.Idle, []string{"no live job is known here"}) {
		t.Errorf("an idle agent: %+v", s)
	}
	g.until("an office agent says that it cannot see the owner", func() bool {
		return slices.Contains(g.agentStatus(refusing).Idle, unseen)
	})
	g.submit(g.job("work", 40, 200e6, ""))
	g.until("a unit runs", func() bool { return len(g.agentStatus(working).Units) == 1 })
	if u := g.agentStatus(working).Units; len(u) == 1 && (u[0].Name != "work" || u[0].Owner != alice) {
		t.Errorf("it runs %+v", u)
	}
	out := g.must("gridagent", "status", "--state", working.state, "-o", "wide").stdout
	for _, text := range []string{"running since", "reachable      yes", "always-on (this)", "STEWARDS"} {
		if !strings.Contains(out, text) {
			t.Errorf("status lacks %q:\n%s", text, out)
		}
	}
	out = g.must("gridcoordinator", "status", "--state", g.coordinator.state).stdout
	for _, text := range []string{"cores offered  1", "live jobs      1 of 1 submitter", "alice", "to 2 agents"} {
		if !strings.Contains(out, text) {
			t.Errorf("the coordinator's status lacks %q:\n%s", text, out)
		}
	}
	// One that others cannot reach can be asked all the same.
	g.addAgent(always, "--cores", "1", "--advertise", "127.0.0.2:1")
	if s := g.agentStatus(g.agents[2]); !s.Running || s.Slots != 1 {
		t.Errorf("an agent out of reach: %+v", s)
	}
	working.kill()
	if _, err := os.Stat(filepath.Join(working.state, "addresses.json")); err != nil {
		t.Error(err) // else what follows shows nothing
	}
	if out := g.exits(3, "gridagent", "status", "--state", working.state); !strings.Contains(out.stdout, "not running") {
		t.Errorf("after a kill: %s", out.stdout)
	}
}
