package agent

import (
	"testing"
	"time"
)

func TestThreeAgentsRunEachUnitOnce(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		j := g.submit(300)
		took := j.await(time.Minute)
		t.Log("took", took)
		j.each(1, 1)
		for _, m := range g.agents {
			t.Log(m.ip, "ran", g.runs.by(m.ip))
		}
	})
}
