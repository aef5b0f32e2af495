package gridtest_test

import (
	"errors"
	"testing"
	"time"

	"idlegrid/agent"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs/manifest"
)

// TestP9OwnerComesAndGoes: what runs stands still while the owner is there, and goes on where it was. Its lease is kept.
func TestP9OwnerComesAndGoes(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		const takes, stays = 10 * time.Minute, time.Hour
		g.Work(saves(takes))
		j := g.Submit(1, saved)
		time.Sleep(90 * time.Second)
		on := running(t, j, 0).On
		on.Offer(agent.Offer{})
		time.Sleep(stays)
		if runs := j.Runs(0); len(runs) != 1 || !runs[0].Running {
			t.Fatalf("while the owner was there it ran so: %+v", runs)
		}
		on.Offer(agent.Offer{Slots: gridtest.Slots})
		j.Await(20 * time.Minute)
		j.Complete()
		j.Each(1, 1)
		if run := j.Runs(0)[0]; run.Ended.Sub(run.Started).Round(time.Second) != takes+stays {
			t.Errorf("it took %s, expected %s and the %s in which it stood still", run.Ended.Sub(run.Started), takes, stays)
		}
	})
}

// TestP9OneSlotLeft: the unit that began first goes on, the other one stands still until then, and nothing else begins.
func TestP9OneSlotLeft(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		const takes = 10 * time.Minute
		g.Work(saves(takes))
		j := g.Submit(4, saved)
		time.Sleep(time.Minute)
		on := running(t, j, 0).On
		on.Offer(agent.Offer{Slots: 1})
		time.Sleep(takes + 30*time.Second)
		ended, begun := 0, 0
		for unit := range j.Manifest.Units {
			ended += len(j.Ran(unit))
			begun += len(j.Runs(unit))
		}
		if ended != 1 || begun != 2 {
			t.Errorf("%d units ended and %d began, expected 1 and 2", ended, begun)
		}
		on.Offer(agent.Offer{Slots: gridtest.Slots})
		j.Await(40 * time.Minute)
		j.Complete()
		j.Each(1, 1)
	})
}

// TestP3GivenBack: an owner who stays has the work back with the newest checkpoint there is, and another PC goes on
// from it within seconds. Nothing is thawed for that.
func TestP3GivenBack(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(saves(20 * time.Minute))
		j := g.Submit(1, saved)
		time.Sleep(5*time.Minute + 30*time.Second)
		on := running(t, j, 0).On
		on.Offer(agent.Offer{})
		time.Sleep(10 * time.Minute)
		on.Offer(agent.Offer{GiveBack: true})
		next, took := goesOn(g, j, 1, time.Minute)
		first := j.Runs(0)[0]
		t.Logf("it goes on after %s, %s of work are lost", took, first.Reached-next.From)
		if next.On == on || first.Running || took > 15*time.Second {
			t.Errorf("%s later it goes on so: %+v", took, j.Runs(0))
		}
		if first.Reached > 6*time.Minute || first.Reached-next.From > every || next.From < 4*time.Minute {
			t.Errorf("it came to %s, and goes on from %s", first.Reached, next.From)
		}
		j.Await(20 * time.Minute)
		j.Complete()
	})
}

// TestGivenBackAtOnce: what waits for a slot goes back too, what had ended is reported, and nothing is asked for.
func TestGivenBackAtOnce(t *testing.T) {
	gridtest.Run(t, 2, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(400, func(m *manifest.Manifest) { m.Bundle = 5 })
		time.Sleep(21500 * time.Millisecond)
		on := g.Agents[0]
		on.Offer(agent.Offer{GiveBack: true})
		time.Sleep(5 * time.Second)
		if n := len(g.InHand(on)); n > 0 {
			t.Errorf("%d units still run", n)
		}
		ran := j.RanOn(on)
		j.Await(20 * time.Minute)
		j.Complete()
		j.Each(1, 1)
		if n := j.RanOn(on); ran == 0 || n != ran {
			t.Errorf("it ran %d units until the owner came, and %d in all", ran, n)
		}
	})
}

// TestMemoryOfLargeUnits: units that need more than there is run elsewhere or not at all, which keeps no other job waiting,
// and no more of them run at a time than fit.
func TestMemoryOfLargeUnits(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(3 * time.Second))
		on := g.Agents[0]
		offer := func(mib uint64) { on.Offer(agent.Offer{Slots: gridtest.Slots, Memory: mib << 20}) }
		offer(100)
		large := g.Submit(6, func(m *manifest.Manifest) { m.Memory = 128 << 20 })
		small := g.Submit(20) // of 64 MiB
		small.Await(5 * time.Minute)
		small.Complete()
		if n := large.RanOn(on); n > 0 {
			t.Errorf("%d units ran that need more memory than there is", n)
		}
		expectIdle(t, on, "memory: a unit of job "+large.Manifest.Name+" may have 128 MiB, and 100 MiB are left for units here")
		offer(255)
		most := 0
		g.Eventually(5*time.Minute, "the large ones are done", func() bool {
			most = max(most, len(g.InHand(on)))
			return large.Done()
		})
		large.Complete()
		if most != 1 {
			t.Errorf("%d units of 128 MiB ran at a time in 255 MiB", most)
		}
	})
}

// TestMemoryShrinks: an owner who leaves less memory has at once what one unit too many may have: it goes on elsewhere from
// its newest checkpoint. The others go on here.
func TestMemoryShrinks(t *testing.T) {
	gridtest.Run(t, 2, func(g *gridtest.Grid) {
		g.Work(saves(20 * time.Minute))
		on := g.Agents[0]
		g.Agents[1].Offer(agent.Offer{})
		j := g.Submit(gridtest.Slots, saved)
		g.Eventually(time.Minute, "all run on one", func() bool { return len(g.InHand(on)) == gridtest.Slots })
		time.Sleep(5 * time.Minute)
		g.Agents[1].Offer(agent.Offer{Slots: gridtest.Slots})
		on.Offer(agent.Offer{Slots: gridtest.Slots, Memory: (gridtest.Slots-1)*j.Manifest.Memory + 1})
		took := g.Eventually(time.Minute, "one runs elsewhere", func() bool { return len(g.InHand(g.Agents[1])) == 1 })
		here, there := g.InHand(on), g.InHand(g.Agents[1])[0]
		if took > 15*time.Second || len(here) != gridtest.Slots-1 || there.From < 4*time.Minute {
			t.Errorf("after %s %d units run here, and one elsewhere from %s on", took, len(here), there.From)
		}
		j.Await(30 * time.Minute)
		j.Complete()
	})
}

// TestRefusedHere: a job that this machine does not take is neither asked for nor run here, also if it runs just now, and
// status says why.
func TestRefusedHere(t *testing.T) {
	gridtest.Run(t, 2, func(g *gridtest.Grid) {
		g.Work(saves(5 * time.Minute))
		j := g.Submit(1, saved)
		time.Sleep(90 * time.Second)
		on := running(t, j, 0).On
		refuse := func(*manifest.Manifest) error { return errors.New("the owner refuses alice") }
		on.Offer(agent.Offer{Slots: gridtest.Slots, Takes: refuse})
		next, _ := goesOn(g, j, 1, time.Minute)
		if next.On == on {
			t.Error("it goes on where it is refused")
		}
		expectIdle(t, on, "job "+j.Manifest.Name+" is refused here: the owner refuses alice")
		next.On.Offer(agent.Offer{Takes: refuse})
		k := g.Submit(1, saved)
		time.Sleep(5 * time.Minute)
		if runs := k.Runs(0); len(runs) > 0 {
			t.Errorf("it was run where it is refused: %+v", runs)
		}
		for _, m := range g.Agents {
			m.Offer(agent.Offer{Slots: gridtest.Slots})
		}
		j.Await(20 * time.Minute)
		k.Await(20 * time.Minute)
	})
}
