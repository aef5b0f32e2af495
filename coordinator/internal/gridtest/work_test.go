package gridtest_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// TestP3EachUnitRunsOnce: with no faults and unchanged membership each unit runs exactly once. It also holds that
// slots do not wait: the ideal is units x time / slots.
func TestP3EachUnitRunsOnce(t *testing.T) {
	for _, agents := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(agents, " agents"), func(t *testing.T) {
			gridtest.Run(t, agents, func(g *gridtest.Grid) {
				const units, takes = 200, 100 * time.Millisecond
				j := g.Submit(units)
				took := j.Await(time.Minute)
				j.Each(1, 1)
				if ideal := units * takes / time.Duration(agents*gridtest.Slots); took > ideal+time.Second {
					t.Errorf("took %s, the slots alone need %s", took, ideal)
				}
				for _, m := range g.Agents {
					if c := j.Counts(m); c.Accepted != units || c.Failed+c.Conflict+c.Differs != 0 {
						t.Errorf("%s counts %+v", m.IP, c)
					}
					if n := j.RanOn(m); n < units/agents*2/3 {
						t.Errorf("%s ran %d of %d units", m.IP, n, units)
					}
				}
				j.Complete()
			})
		})
	}
}

func TestBundlesAndShards(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Millisecond))
		bundled := g.Submit(1000, func(m *manifest.Manifest) { m.Bundle = 7 })
		bundled.Await(time.Minute)
		bundled.Each(1, 1)
		sharded := g.Submit(manifest.ShardBundles + 10)
		sharded.Await(5 * time.Minute)
		sharded.Each(1, 1)
	})
}

// TestLongUnits holds that leases live as long as their units run, and that nobody hoards: six units of ten
// minutes on six slots take ten minutes.
func TestLongUnits(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		const takes = 10 * time.Minute
		g.Work(gridtest.Takes(takes))
		j := g.Submit(12)
		if took := j.Await(time.Hour); took > 2*takes+30*time.Second {
			t.Errorf("took %s", took)
		}
		j.Each(1, 1)
	})
}

// TestLargeOutcomes holds that units of a large bundle are reported before it ends, and that it stays lent to
// whoever runs the rest.
func TestLargeOutcomes(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(func(u gridtest.Unit) gridtest.Result {
			o := gridtest.Compute(u.Program, u.Number)
			o.Stderr = make([]byte, 9<<20)
			return gridtest.Result{Takes: 40 * time.Second, Outcome: o}
		})
		j := g.Submit(6, func(m *manifest.Manifest) { m.Bundle = 6 })
		g.Eventually(time.Minute, "two of six units are accepted", func() bool { return j.Accepted() == 2 })
		j.Await(5 * time.Minute)
		j.Each(1, 1)
	})
}

// TestP5EndedJobStops: units of a job that was cancelled or is past its time end, and no other starts.
func TestP5EndedJobStops(t *testing.T) {
	ends := map[string]func(*gridtest.Job){
		"cancelled": (*gridtest.Job).Cancel,
		"expired":   func(j *gridtest.Job) { time.Sleep(time.Until(j.Manifest.Expires)) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 2, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(time.Minute))
				j := g.Submit(1000, func(m *manifest.Manifest) { m.Expires = m.Created.Add(5 * time.Minute) })
				time.Sleep(90 * time.Second)
				if g.Running() == 0 {
					t.Fatal("nothing runs")
				}
				end(j)
				time.Sleep(50 * time.Millisecond)
				started := g.Started()
				if n := g.Running(); n > 0 {
					t.Errorf("%d units still run", n)
				}
				time.Sleep(10 * time.Minute)
				if n := g.Started(); n > started {
					t.Errorf("%d units were started afterwards", n-started)
				}
			})
		})
	}
}

// TestP8FairShare is promise P8 as far as one agent can show it.
func TestP8FairShare(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(500 * time.Millisecond))
		alice := g.Submit(1000)
		time.Sleep(10 * time.Second)
		bob := g.NewUser(peer.Submitter, "bob").Submit(1000)
		time.Sleep(30 * time.Second) // bob catches up
		a, b := alice.Accepted(), bob.Accepted()
		time.Sleep(time.Minute)
		a, b = alice.Accepted()-a, bob.Accepted()-b
		if a+b < 200 || max(a, b)-min(a, b) > (a+b)/10 {
			t.Errorf("alice got %d units, bob %d", a, b)
		}
	})
}

// TestIdleHour holds that an agent with nothing to do does nothing: neither with a job that is done nor while
// a unit runs for long.
func TestIdleHour(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Submit(20).Await(time.Minute)
		time.Sleep(10 * time.Minute)
		fewSteps(g, "with a job that is done", 300)
		g.Work(gridtest.Takes(3 * time.Hour))
		g.Submit(6)
		time.Sleep(10 * time.Minute)
		fewSteps(g, "while units run", 600)
	})
}

// fewSteps fails the test if a worker looks around more often in the next hour.
func fewSteps(g *gridtest.Grid, when string, most int64) {
	g.T.Helper()
	before := map[*gridtest.Machine]int64{}
	for _, m := range g.On() {
		before[m] = m.Agent().Steps()
	}
	time.Sleep(time.Hour)
	for m, n := range before {
		if n = m.Agent().Steps() - n; n > most {
			g.T.Errorf("%s: %d steps in an hour %s, expected at most %d", m.IP, n, when, most)
		}
	}
}

func TestUnitsThatFail(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(func(u gridtest.Unit) gridtest.Result {
			r := gridtest.Result{Takes: 100 * time.Millisecond, Outcome: gridtest.Compute(u.Program, u.Number)}
			if u.Number%10 == 0 {
				r.Failure = jobs.Failure{Kind: jobs.FailureTrap, Text: "unreachable"}
			}
			return r
		})
		j := g.Submit(100)
		j.Await(time.Minute)
		for _, m := range g.Agents {
			if c := j.Counts(m); c.Failed != 10 || c.Accepted != 90 {
				t.Errorf("%s counts %+v", m.IP, c)
			}
		}
		for unit := uint64(0); unit < 100; unit += 10 {
			if n := len(j.Ran(unit)); n != 2 {
				t.Errorf("unit %d ran %d times, expected once and a retry", unit, n)
			}
		}
	})
}

func TestUnusableProgram(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Prepare(func(*executor.Program) error {
			return &executor.UnusableError{Failure: jobs.Failure{Kind: jobs.FailureInput, Text: "no wasm"}}
		})
		j := g.Submit(5000)
		took := j.Await(5 * time.Minute)
		if c := j.Counts(g.Agents[0]); c.Failed != 5000 || g.Started() != 0 {
			t.Errorf("after %s: %+v, %d units ran", took, c, g.Started())
		}
	})
}

// TestFaultsOfAgents holds that an agent that cannot run a job leaves it to the others and fails no unit.
func TestFaultsOfAgents(t *testing.T) {
	gridtest.Run(t, 2, func(g *gridtest.Grid) {
		var faults atomic.Int64
		g.Prepare(func(*executor.Program) error {
			if faults.Add(1) <= 4 {
				return errors.New("disk")
			}
			return nil
		})
		j := g.Submit(100)
		if took := j.Await(10 * time.Minute); took > 3*time.Minute {
			t.Errorf("took %s", took)
		}
		if c := j.Counts(g.Agents[0]); c.Accepted != 100 || faults.Load() < 4 {
			t.Errorf("counts %+v after %d faults", c, faults.Load())
		}
		j.Each(1, 1)
	})
}
