package e2e_test

import (
	"os"
	"testing"
)

// TestTokens uses tokens in all the wrong ways.
func TestTokens(t *testing.T) {
	t.Parallel()
	g := newGrid(t)
	join := func(state, token string) output {
		return g.exits(1, "gridagent", "join", "--state", g.path(state), token)
	}
	used := g.token("--class", always)
	g.must("gridagent", "join", "--state", g.path("first"), used)
	join("second", used).says(t, "this token was used already", "hint: ")
	join("second", g.token("--class", always, "--ttl", "1ms")).says(t, "the join token expired", "hint: ")
	join("first", g.token("--class", always)).says(t, "has joined a grid already", "hint: ")
	other := emptyGrid(t, patience)
	foreign := other.token("--class", always, "--address", g.coordinator.addresses().Grid)
	join("second", foreign).says(t, "hint: ")
	g.exits(2, "gridagent", "join", "--state", g.path("second"), g.token("--role", "submitter")).says(t, "for the role submitter, expected agent")
	g.exits(2, "gridagent", "join", "--state", g.path("second"), "grid1.nonsense").says(t, "this is no join token")
	// After all that the folder is good for a right token.
	g.must("gridagent", "join", "--state", g.path("second"), g.token("--class", always))
}

// TestStateFolders starts daemons on folders that are not theirs to use.
func TestStateFolders(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always)
	for _, d := range []*daemon{g.coordinator, g.agents[0]} {
		g.exits(1, d.program, "run", "--state", d.state, "--listen", "127.0.0.1:0").
			says(t, "is in use by another process", "hint: each agent and coordinator needs a state folder of its own")
		if a := d.addresses(); a.PID != d.cmd.Process.Pid {
			t.Errorf("%s: addresses.json is of %d now", d.name, a.PID)
		}
	}
	g.exits(1, "gridagent", "run", "--state", g.path("nowhere")).says(t, "has not joined a grid", "hint: run `gridagent join")
	g.exits(1, "gridcoordinator", "run", "--state", g.path("nowhere")).says(t, "hint: make a grid first: gridcoordinator init")
	g.exits(1, "gridcoordinator", "init", "--state", g.coordinator.state).says(t, "already", "hint: ")
	g.exits(1, "gridcoordinator", "token", "--state", g.path("nowhere")).says(t, "hint: run this where")
	if _, err := os.Stat(g.path("nowhere")); err == nil {
		t.Error("a folder was made by a command that failed")
	}
	g.exits(2, "gridcoordinator", "token", "--state", g.coordinator.state).says(t, "an agent without a class", "hint: name one of")
	g.exits(2, "gridcoordinator", "token", "--state", g.coordinator.state, "--role", "king").says(t, `"king" is no role`)
}
