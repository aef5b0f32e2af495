package e2e_test

import (
	"syscall"
	"testing"
)

// TestStopAmongTheDead stops agents that run long units while the coordinator is off and another agent hangs.
func TestStopAmongTheDead(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always, always)
	id := g.submit(g.job("long", 30, 1e12, ""))
	for _, a := range g.agents {
		g.until(a.name+" runs a unit", func() bool { return len(childrenOf(a.cmd.Process.Pid)) > 0 })
	}
	g.coordinator.kill()
	hanging := g.agents[2]
	if err := hanging.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The signal reaches its last thread a little later.
	g.until(hanging.name+" hangs", func() bool { return g.members(hanging) == nil })
	if s := g.summary(g.agents[0], id); s.GetOpen() != 30 {
		t.Errorf("units of the job have ended: %v", s)
	}
	for _, a := range g.agents[:2] {
		took := a.stop()
		t.Logf("%s stopped within %s", a.name, took)
		if took > promisedStop {
			t.Errorf("%s took %s to stop, promised are %s", a.name, took, promisedStop)
		}
	}
	if err := hanging.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if took := hanging.stop(); took > promisedStop {
		t.Errorf("%s took %s to stop, promised are %s", hanging.name, took, promisedStop)
	}
}
