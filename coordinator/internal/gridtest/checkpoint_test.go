package gridtest_test

import (
	"sync/atomic"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs/manifest"
)

// saves lets units take so long and give checkpoints.
func saves(takes time.Duration) gridtest.Work {
	return func(u gridtest.Unit) gridtest.Result {
		return gridtest.Result{Takes: takes, Outcome: gridtest.Compute(u.Program, u.Number), Saves: true}
	}
}

// every is how often units are saved here.
const every = time.Minute

func saved(m *manifest.Manifest) { m.Checkpoint = every }

// running returns the run of a unit that is under way.
func running(t *testing.T, j *gridtest.Job, unit uint64) gridtest.UnitRun {
	t.Helper()
	runs := j.Runs(unit)
	if len(runs) == 0 || !runs[len(runs)-1].Running {
		t.Fatalf("unit %d does not run: %+v", unit, runs)
	}
	return runs[len(runs)-1]
}

// goesOn waits until a unit runs again, and returns how that began and how long it took.
func goesOn(g *gridtest.Grid, j *gridtest.Job, before int, within time.Duration) (gridtest.UnitRun, time.Duration) {
	g.T.Helper()
	took := g.Eventually(within, "the unit runs elsewhere", func() bool { return len(j.Runs(0)) > before })
	return j.Runs(0)[before], took
}

// TestCheckpointOfAnAgentThatStops: its unit goes on elsewhere within seconds, from where it was.
func TestCheckpointOfAnAgentThatStops(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(saves(20 * time.Minute))
		j := g.Submit(1, saved)
		time.Sleep(5*time.Minute + 30*time.Second)
		on := running(t, j, 0).On
		on.Stop()
		reached := j.Runs(0)[0].Reached
		next, took := goesOn(g, j, 1, 3*time.Minute)
		t.Logf("it goes on after %s, %s of work are lost", took, reached-next.From)
		if next.On == on || reached < 5*time.Minute || reached-next.From > 3*time.Second {
			t.Errorf("it came to %s, and goes on from %s", reached, next.From)
		}
		j.Await(20 * time.Minute)
		j.Complete()
	})
}

// TestCheckpointOfAKilledAgent: a kill costs an interval of work at most.
func TestCheckpointOfAKilledAgent(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(saves(20 * time.Minute))
		j := g.Submit(1, saved)
		time.Sleep(5*time.Minute + 30*time.Second)
		on := running(t, j, 0).On
		on.Cut()
		reached := j.Runs(0)[0].Reached
		next, took := goesOn(g, j, 1, 3*time.Minute)
		t.Logf("it goes on after %s, %s of work are lost", took, reached-next.From)
		if reached < 5*time.Minute || reached-next.From > every+time.Second {
			t.Errorf("it came to %s, and goes on from %s", reached, next.From)
		}
		j.Await(20 * time.Minute)
		j.Complete()
	})
}

// TestP12CheckpointsOutliveTheirSteward: agents note their checkpoints on disk, and tell of them after a power cut that
// took the stewards, too.
func TestP12CheckpointsOutliveTheirSteward(t *testing.T) {
	for name, agents := range map[string]int{"alone": 1, "three": 3} {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, agents, func(g *gridtest.Grid) {
				g.Work(saves(20 * time.Minute))
				j := g.Submit(1, saved)
				time.Sleep(5*time.Minute + 30*time.Second)
				running(t, j, 0)
				for _, m := range g.Agents {
					m.Cut()
				}
				reached := j.Runs(0)[0].Reached
				for _, m := range g.Agents {
					m.Start()
				}
				next, _ := goesOn(g, j, 1, 5*time.Minute)
				if reached < 5*time.Minute || reached-next.From > every+time.Second {
					t.Errorf("it came to %s, and goes on from %s", reached, next.From)
				}
				j.Await(20 * time.Minute)
				j.Complete()
			})
		})
	}
}

// TestCheckpointsOutliveARestartedSteward: the first steward is back for moments only when the agent is killed that runs
// the unit, and which did not get to tell it anything since: another steward did.
func TestCheckpointsOutliveARestartedSteward(t *testing.T) {
	gridtest.Run(t, 4, func(g *gridtest.Grid) {
		g.Work(saves(time.Hour))
		j := g.Submit(3*gridtest.Slots, saved) // one is free to go on with what another had
		time.Sleep(5*time.Minute + 30*time.Second)
		first := g.Coordinator.Stewards(j)[0]
		first.Cut()
		time.Sleep(10 * time.Second)
		first.Start()
		time.Sleep(20 * time.Second)
		var on *gridtest.Machine
		var unit uint64
		for _, m := range g.On() {
			if runs := g.InHand(m); m != first && len(runs) > 0 {
				on, unit = m, runs[0].Number
			}
		}
		on.Cut()
		before := len(j.Runs(unit))
		reached := j.Runs(unit)[before-1].Reached
		g.Eventually(5*time.Minute, "the unit runs elsewhere", func() bool { return len(j.Runs(unit)) > before })
		if next := j.Runs(unit)[before]; reached < 5*time.Minute || reached-next.From > every+time.Second {
			t.Errorf("it came to %s, and goes on from %s", reached, next.From)
		}
	})
}

// TestBrokenCheckpoint: the one before is good, or the beginning.
func TestBrokenCheckpoint(t *testing.T) {
	for name, test := range map[string]struct {
		spoils int
		from   time.Duration
	}{
		"the last": {3, 2 * time.Minute},
		"both":     {2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 3, func(g *gridtest.Grid) {
				g.Work(func(u gridtest.Unit) gridtest.Result {
					r := saves(20 * time.Minute)(u)
					r.Spoils = test.spoils
					return r
				})
				j := g.Submit(1, saved)
				time.Sleep(3*time.Minute + 30*time.Second)
				on := running(t, j, 0).On
				g.Work(saves(20 * time.Minute))
				on.Cut()
				next, _ := goesOn(g, j, 1, 3*time.Minute)
				if off := next.From - test.from; off < 0 || off > time.Second {
					t.Errorf("it goes on from %s, expected %s", next.From, test.from)
				}
				// Its own checkpoints count from now on, not the broken ones.
				time.Sleep(2*every + 30*time.Second)
				running(t, j, 0).On.Stop()
				reached := j.Runs(0)[1].Reached
				if last, _ := goesOn(g, j, 2, 3*time.Minute); reached-last.From > 3*time.Second {
					t.Errorf("then it came to %s, and goes on from %s", reached, last.From)
				}
				j.Await(20 * time.Minute)
				j.Complete()
			})
		})
	}
}

// TestStuckUnit: a unit that takes no CPU time is stopped and goes elsewhere, however long it may run.
func TestStuckUnit(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		var first atomic.Pointer[gridtest.Machine]
		g.Work(func(u gridtest.Unit) gridtest.Result {
			r := gridtest.Result{Takes: 10 * time.Minute, Outcome: gridtest.Compute(u.Program, u.Number), Blocks: 20 * time.Minute}
			if first.CompareAndSwap(nil, u.On) || first.Load() == u.On {
				r.Takes, r.Blocks = time.Hour, 30*time.Second
			}
			return r
		})
		j := g.Submit(1, func(m *manifest.Manifest) { m.Timeout = 2 * time.Hour })
		time.Sleep(time.Minute)
		running(t, j, 0)
		next, took := goesOn(g, j, 1, 4*time.Minute)
		t.Logf("it goes on %s after it began", took+time.Minute)
		if next.On == first.Load() || j.Runs(0)[0].Running {
			t.Errorf("it runs where it was stuck, or is not stopped there: %+v", j.Runs(0))
		}
		j.Await(15 * time.Minute)
		if n := len(j.Runs(0)); n != 2 {
			t.Errorf("it ran %d times", n)
		}
		j.Complete()
	})
}

// TestCheckpointsAreReleased: when a unit is done its checkpoints go everywhere, those too of an agent that had it before
// and comes back.
func TestCheckpointsAreReleased(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(saves(8 * time.Minute))
		j := g.Submit(1, saved)
		time.Sleep(3*time.Minute + 30*time.Second)
		on := running(t, j, 0).On
		if checkpoints(t, g) == 0 {
			t.Fatal("no checkpoint is kept while the unit runs")
		}
		on.Stop()
		goesOn(g, j, 1, 3*time.Minute)
		on.Start()
		j.Await(10 * time.Minute)
		took := g.Eventually(10*time.Minute, "all checkpoints are gone", func() bool { return checkpoints(t, g) == 0 })
		t.Logf("they are gone %s after the job is done", took)
	})
}

// checkpoints counts the parts and notes of checkpoints on all machines.
func checkpoints(t *testing.T, g *gridtest.Grid) (n int) {
	t.Helper()
	for _, m := range g.On() {
		notes, err := m.Node().Store.Notes()
		if err != nil {
			t.Fatal(err)
		}
		n += len(notes)
		for _, kept := range m.Node().Blobs.List() {
			for _, c := range kept.Claims {
				if c.Kind == blobs.Checkpoint {
					n++
				}
			}
		}
	}
	return n
}

// TestLastCheckpointAmongTheDead: where nobody takes it, a stop takes no longer than its bounds add up to, and the agent
// itself goes on from what it noted.
func TestLastCheckpointAmongTheDead(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		g.Work(saves(20 * time.Minute))
		j := g.Submit(1, saved)
		others := []*gridtest.Machine{g.Add(peer.AlwaysOn), g.Add(peer.AlwaysOn), g.Coordinator}
		for _, m := range others[:2] {
			m.Start()
		}
		g.AwaitPool(3)
		time.Sleep(5 * time.Minute)
		on := running(t, j, 0).On
		g.Partition([]*gridtest.Machine{on}, others)
		time.Sleep(15 * time.Second)
		begun := time.Now()
		on.Stop()
		if took := time.Since(begun); took > 4*time.Second {
			t.Errorf("the stop took %s", took)
		}
		reached := j.Runs(0)[0].Reached
		for _, m := range others[:2] {
			m.Stop() // they must not go on with it
		}
		before := len(j.Runs(0))
		g.Heal()
		on.Start()
		next, _ := goesOn(g, j, before, 3*time.Minute)
		if reached < 5*time.Minute || reached-next.From > every+time.Second {
			t.Errorf("it came to %s, and goes on from %s", reached, next.From)
		}
	})
}
