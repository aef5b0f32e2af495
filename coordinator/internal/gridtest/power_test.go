package gridtest_test

import (
	"testing"
	"time"

	"idlegrid/coordinator/internal/gridtest"
)

// ends are the ways in which a machine goes off.
func ends() map[string]func(*gridtest.Machine) {
	return map[string]func(*gridtest.Machine){"stopped": (*gridtest.Machine).Stop, "cut": (*gridtest.Machine).Cut}
}

func TestUnitsOfAnAgentThatStops(t *testing.T) {
	for name, end := range ends() {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 3, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(time.Second))
				j := g.Submit(100)
				time.Sleep(5 * time.Second)
				before := j.RanOn(g.Agents[1])
				end(g.Agents[1])
				took := j.Await(5 * time.Minute)
				j.Each(1, 2)
				if before == 0 {
					t.Error("the agent had run nothing before it stopped")
				}
				// The slots need 18 s; where it was the first steward, the next one listens for 20 s before. A lease lives 60 s.
				if name == "stopped" && took > 50*time.Second {
					t.Errorf("took %s: the leases were not given back", took)
				}
			})
		})
	}
}

// TestP1PowerComesBack is promises P1 and P12: what was acknowledged is there when all have restarted, and the
// job goes on.
func TestP1PowerComesBack(t *testing.T) {
	for name, end := range ends() {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 3, func(g *gridtest.Grid) {
				j := g.Submit(300)
				time.Sleep(3 * time.Second)
				acknowledged := j.Acknowledged()
				if len(acknowledged) == 0 {
					t.Fatal("nothing was acknowledged before the power went")
				}
				before := make([]uint64, 3)
				for i, m := range g.Agents {
					before[i] = j.Counts(m).Accepted
				}
				for _, m := range g.Agents {
					end(m)
				}
				time.Sleep(time.Hour)
				for i, m := range g.Agents {
					m.Start()
					if now := j.Counts(m).Accepted; now < before[i] || now == 0 {
						t.Errorf("%s had %d units accepted and has %d", m.IP, before[i], now)
					}
				}
				if n := j.Missing(acknowledged); n > 0 {
					t.Errorf("%d of %d acknowledged reports are missing", n, len(acknowledged))
				}
				g.AwaitPool(3)
				j.Await(5 * time.Minute)
				j.Each(1, 3) // an agent that stops alone cannot tell the others of its last units
				j.Complete()
			})
		})
	}
}

// TestReportsOfALoneAgentSpread holds that what one agent finished while nobody could hear it reaches the
// others after a restart.
func TestReportsOfALoneAgentSpread(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(60)
		time.Sleep(3500 * time.Millisecond)
		lone := g.Agents[0]
		before := j.RanOn(lone)
		g.Partition([]*gridtest.Machine{lone}, []*gridtest.Machine{g.Agents[1], g.Agents[2], g.Coordinator})
		time.Sleep(1200 * time.Millisecond)
		own := j.RanOn(lone) - before
		lone.Stop()
		g.Heal()
		lone.Start()
		g.AwaitPool(3)
		j.Await(5 * time.Minute)
		if own == 0 {
			t.Error("the lone agent ran nothing while it was alone")
		}
		j.Each(1, 2)
		j.Complete()
	})
}

// TestHealedPartition holds that a pool that fell apart for hours is one again a few minutes after it could be.
func TestHealedPartition(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Partition(g.Agents[:1], []*gridtest.Machine{g.Agents[1], g.Agents[2], g.Coordinator})
		time.Sleep(time.Hour)
		if n := len(g.Agents[0].Node().Members()); n != 1 {
			t.Fatalf("a peer that is cut off sees %d members", n)
		}
		g.Heal()
		g.AwaitPool(3)
	})
}
