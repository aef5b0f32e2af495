package agent

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// TestEachUnitRunsOnce is promise P3: with no faults and unchanged membership each unit runs exactly once. It
// also holds that slots do not wait: the ideal is units x time / slots.
func TestEachUnitRunsOnce(t *testing.T) {
	for _, agents := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(agents, " agents"), func(t *testing.T) {
			inGrid(t, agents, func(g *grid) {
				const units = 200
				j := g.submit(units)
				took := j.await(time.Minute)
				j.each(1)
				ideal := units * g.runs.unit / time.Duration(agents*slots)
				if took > ideal+time.Second {
					t.Errorf("took %s, the slots alone need %s", took, ideal)
				}
				for _, m := range g.agents {
					if c := j.counts(m); c.Accepted != units || c.Failed+c.Conflict+c.Differs != 0 {
						t.Errorf("%s counts %+v", m.ip, c)
					}
					if n := g.runs.by(m.ip); n < units/agents*2/3 {
						t.Errorf("%s ran %d of %d units", m.ip, n, units)
					}
				}
			})
		})
	}
}

func TestBundlesAndShards(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		g.runs.unit = time.Millisecond
		bundled := g.submit(1000, func(m *manifest.Manifest) { m.Bundle = 7 })
		bundled.await(time.Minute)
		bundled.each(1)
		sharded := g.submit(manifest.ShardBundles + 10)
		sharded.await(5 * time.Minute)
		sharded.each(1)
	})
}

// TestLongUnits holds that leases live as long as their units run, and that nobody hoards: six units of ten
// minutes on six slots take ten minutes.
func TestLongUnits(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		g.runs.unit = 10 * time.Minute
		j := g.submit(12)
		if took := j.await(time.Hour); took > 2*g.runs.unit+30*time.Second {
			t.Errorf("took %s", took)
		}
		j.each(1)
	})
}

func TestUnitsOfAnAgentThatStops(t *testing.T) {
	for name, end := range map[string]func(*grid, *machine){"stops": (*grid).stop, "loses power": (*grid).cut} {
		t.Run(name, func(t *testing.T) {
			inGrid(t, 3, func(g *grid) {
				g.runs.unit = time.Second
				j := g.submit(100)
				time.Sleep(5 * time.Second)
				end(g, g.agents[1])
				took := j.await(5 * time.Minute)
				j.each(2)
				if name == "stops" && took > 40*time.Second {
					t.Errorf("took %s: the leases were not given back", took)
				}
			})
		})
	}
}

// TestLargeOutcomes holds that units of a large bundle are reported before it ends, and that it stays lent to
// whoever runs the rest.
func TestLargeOutcomes(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		g.runs.unit, g.runs.output = 40*time.Second, 9<<20
		j := g.submit(6, func(m *manifest.Manifest) { m.Bundle = 6 })
		g.eventually(time.Minute, "two of six units are accepted", func() bool { return j.counts(g.agents[0]).Accepted == 2 })
		j.await(5 * time.Minute)
		j.each(1)
	})
}

// TestPowerComesBack is promises P1 and P12: what was acknowledged is there when all have restarted, and the
// job goes on.
func TestPowerComesBack(t *testing.T) {
	for name, end := range map[string]func(*grid, *machine){"stopped": (*grid).stop, "cut": (*grid).cut} {
		t.Run(name, func(t *testing.T) {
			inGrid(t, 3, func(g *grid) {
				j := g.submit(300)
				time.Sleep(3 * time.Second)
				before := make([]uint64, 3)
				for i, m := range g.agents {
					before[i] = j.counts(m).Accepted
				}
				for _, m := range g.agents {
					end(g, m)
				}
				time.Sleep(time.Hour)
				for i, m := range g.agents {
					g.start(m)
					if now := j.counts(m).Accepted; now < before[i] || now == 0 {
						t.Errorf("%s had %d units accepted and has %d", m.ip, before[i], now)
					}
				}
				g.awaitEligible(3)
				j.await(5 * time.Minute)
				j.each(3) // an agent that stops alone cannot tell the others of its last units
			})
		})
	}
}

// TestReportsOfALoneAgentSpread holds that what one agent finished while nobody could hear it reaches the
// others after a restart.
func TestReportsOfALoneAgentSpread(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		g.runs.unit = time.Second
		j := g.submit(60)
		time.Sleep(3500 * time.Millisecond)
		lone := g.agents[0]
		g.net.Partition([]string{lone.ip}, []string{g.agents[1].ip, g.agents[2].ip, g.seed.ip})
		time.Sleep(1200 * time.Millisecond)
		own := g.runs.by(lone.ip)
		g.stop(lone)
		g.net.Heal()
		g.start(lone)
		g.awaitEligible(3)
		j.await(5 * time.Minute)
		if own == 0 {
			t.Error("the lone agent ran nothing")
		}
		j.each(2)
	})
}

// TestEndedJobStops is promise P5: units of a job that was cancelled or is past its time end, and no other
// starts.
func TestEndedJobStops(t *testing.T) {
	ends := map[string]func(*theJob){
		"cancelled": (*theJob).cancel,
		"expired":   func(j *theJob) { time.Sleep(time.Until(j.m.Expires)) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			inGrid(t, 2, func(g *grid) {
				g.runs.unit = time.Minute
				j := g.submit(1000, func(m *manifest.Manifest) { m.Expires = m.Created.Add(5 * time.Minute) })
				time.Sleep(90 * time.Second)
				end(j)
				time.Sleep(50 * time.Millisecond)
				started := g.runs.total()
				if n := g.runs.running(); n > 0 {
					t.Errorf("%d units still run", n)
				}
				time.Sleep(10 * time.Minute)
				if n := g.runs.total(); n > started {
					t.Errorf("%d units were started afterwards", n-started)
				}
			})
		})
	}
}

// TestHealedPartition holds that a pool that fell apart for hours is one again a few minutes after it could be.
func TestHealedPartition(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		g.net.Partition([]string{g.agents[0].ip}, []string{g.agents[1].ip, g.agents[2].ip, g.seed.ip})
		time.Sleep(time.Hour)
		if n := len(g.agents[0].node.Members()); n != 1 {
			t.Fatalf("a peer that is cut off sees %d members", n)
		}
		g.net.Heal()
		g.awaitEligible(3)
	})
}

// TestFairShare is promise P8 as far as one agent can show it.
func TestFairShare(t *testing.T) {
	inGrid(t, 1, func(g *grid) {
		g.runs.unit = 500 * time.Millisecond
		alice := g.submit(1000)
		time.Sleep(10 * time.Second)
		g.submitter = g.authority.Role(peer.Submitter, "bob")
		bob := g.submit(1000)
		time.Sleep(30 * time.Second) // bob catches up
		a, b := alice.counts(g.agents[0]).Accepted, bob.counts(g.agents[0]).Accepted
		time.Sleep(time.Minute)
		a, b = alice.counts(g.agents[0]).Accepted-a, bob.counts(g.agents[0]).Accepted-b
		if a+b < 200 || max(a, b)-min(a, b) > (a+b)/10 {
			t.Errorf("alice got %d units, bob %d", a, b)
		}
	})
}

// TestIdleHour holds that an agent with nothing to do does nothing: neither with a job that is done nor while
// a unit runs for long.
func TestIdleHour(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		g.submit(20).await(time.Minute)
		time.Sleep(10 * time.Minute)
		g.fewSteps("with a job that is done", 300)
		g.runs.unit = 3 * time.Hour
		g.submit(6)
		time.Sleep(10 * time.Minute)
		g.fewSteps("while units run", 600)
	})
}

// fewSteps fails the test if a worker looks around more often in the next hour.
func (g *grid) fewSteps(when string, most int64) {
	g.t.Helper()
	before := map[*machine]int64{}
	for _, m := range g.on() {
		before[m] = m.agent.worker.Steps()
	}
	time.Sleep(time.Hour)
	for m, n := range before {
		if n = m.agent.worker.Steps() - n; n > most {
			g.t.Errorf("%s: %d steps in an hour %s, expected at most %d", m.ip, n, when, most)
		}
	}
}

func TestUnitsThatFail(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		g.runs.fails = func(unit uint64) bool { return unit%10 == 0 }
		j := g.submit(100)
		j.await(time.Minute)
		for _, m := range g.agents {
			if c := j.counts(m); c.Failed != 10 || c.Accepted != 90 {
				t.Errorf("%s counts %+v", m.ip, c)
			}
		}
		for unit := uint64(0); unit < 100; unit += 10 {
			if n := g.runs.of(j.m.Program.Digest, unit); n != 2 {
				t.Errorf("unit %d ran %d times, expected once and a retry", unit, n)
			}
		}
	})
}

func TestUnusableProgram(t *testing.T) {
	inGrid(t, 3, func(g *grid) {
		g.runs.prepare = func(*executor.Program) error {
			return &executor.UnusableError{Failure: jobs.Failure{Kind: jobs.FailureInput, Text: "no wasm"}}
		}
		j := g.submit(5000)
		took := j.await(5 * time.Minute)
		if c := j.counts(g.agents[0]); c.Failed != 5000 || g.runs.total() != 0 {
			t.Errorf("after %s: %+v, %d units ran", took, c, g.runs.total())
		}
	})
}

// TestFaultsOfAgents holds that an agent that cannot run a job leaves it to the others and fails no unit.
func TestFaultsOfAgents(t *testing.T) {
	inGrid(t, 2, func(g *grid) {
		var faults atomic.Int64
		g.runs.prepare = func(*executor.Program) error {
			if faults.Add(1) <= 4 {
				return errors.New("disk")
			}
			return nil
		}
		j := g.submit(100)
		if took := j.await(10 * time.Minute); took > 3*time.Minute {
			t.Errorf("took %s", took)
		}
		if c := j.counts(g.agents[0]); c.Accepted != 100 {
			t.Errorf("counts %+v", c)
		}
		j.each(1)
	})
}
