package gridtest_test

import (
	"testing"
	"time"

	"idlegrid/coordinator/internal/gridtest"
)

// TestStopAmongTheDead: a stop takes no longer than its bounds add up to, with units at work and nobody who answers.
func TestStopAmongTheDead(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(func(u gridtest.Unit) gridtest.Result {
			return gridtest.Result{Takes: time.Duration(1+u.Number%7) * time.Second, Outcome: gridtest.Compute(u.Program, u.Number)}
		})
		g.Submit(1000)
		time.Sleep(10 * time.Second)
		g.Partition(g.Agents[:1], []*gridtest.Machine{g.Agents[1], g.Agents[2], g.Coordinator})
		time.Sleep(1500 * time.Millisecond) // something is finished that nobody could be told of
		if n := len(statusOf(t, g.Agents[0]).GetAgent().GetRunning()); n == 0 {
			t.Error("no unit runs")
		}
		begun := time.Now()
		g.Agents[0].Stop()
		took := time.Since(begun)
		t.Logf("the stop took %s", took)
		if took > 4*time.Second {
			t.Errorf("the stop took %s, its bounds are 4s together", took)
		}
	})
}
