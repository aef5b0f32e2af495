package gridtest_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/steward"
	"idlegrid/coordinator/internal/gridtest"
)

// again returns the units that ran to their end more than once on machines that are on.
func again(g *gridtest.Grid, j *gridtest.Job) []uint64 {
	var out []uint64
	on := g.On()
	for unit := range j.Manifest.Units {
		runs := slices.DeleteFunc(j.Ran(unit), func(r gridtest.UnitRun) bool { return !slices.Contains(on, r.On) })
		if len(runs) > 1 {
			out = append(out, unit)
		}
	}
	return out
}

// TestP1AllStewardsAreReplaced: the power of all three stewards is cut for good in the middle of a job. Nobody
// but the authors has the reports then. The new stewards hear of them before they lend: no unit runs again whose
// author lives, and the job completes.
func TestP1AllStewardsAreReplaced(t *testing.T) {
	gridtest.Run(t, 8, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(2 * time.Second))
		j := g.Submit(300)
		time.Sleep(15 * time.Second)
		halfway(t, j)
		before := j.Accepted()
		stewards := g.Coordinator.Stewards(j)
		if len(stewards) != 3 {
			t.Fatalf("%d stewards", len(stewards))
		}
		for _, m := range stewards {
			m.Cut()
		}
		j.Await(converge)
		for _, m := range g.Coordinator.Stewards(j) {
			if slices.Contains(stewards, m) {
				t.Error("a steward is on that was cut")
			}
		}
		if units := again(g, j); len(units) > 0 {
			t.Errorf("%d units ran again, of %d that were accepted when the stewards went: %v", len(units), before, units)
		}
		j.Each(1, 2)
		j.Complete()
	})
}

// TestP1NewcomerWithAnEmptyDisk: a steward is replaced by a machine that has just enrolled and knows nothing. What
// the others know it learns before it lends: no unit runs again.
func TestP1NewcomerWithAnEmptyDisk(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(2 * time.Second))
		j := g.Submit(200)
		time.Sleep(15 * time.Second)
		halfway(t, j)
		gone := g.Coordinator.Stewards(j)[0]
		gone.Cut()
		newcomer := g.Add(peer.AlwaysOn)
		newcomer.Start()
		j.Await(converge)
		if s := g.Coordinator.Stewards(j); len(s) != 3 || !slices.Contains(s, newcomer) || slices.Contains(s, gone) {
			t.Fatalf("%d stewards, the newcomer among them: %v", len(s), slices.Contains(s, newcomer))
		}
		if units := again(g, j); len(units) > 0 {
			t.Errorf("%d units ran again: %v", len(units), units)
		}
		g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
		j.Complete()
	})
}

// TestP1HoldersAreGone: of a job that is done two holders of each pack are off, and a newcomer that never saw them
// becomes a steward. It takes the reports, after those who offer them have given the packs to others.
func TestP1HoldersAreGone(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		j := g.Submit(60)
		j.Await(time.Minute)
		g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
		all := j.Acknowledged()
		g.Agents[0].Cut()
		g.Agents[1].Cut()
		g.AwaitPool(1) // the newcomer shall not see them
		newcomer := g.Add(peer.AlwaysOn)
		newcomer.Start()
		g.AwaitPool(2)
		mended := func() bool {
			_, err := newcomer.Node().Store.Job(j.ID)
			return err == nil && j.Counts(newcomer).Accepted == 60
		}
		g.Eventually(3*time.Minute, "the newcomer has all reports", mended)
		if n := j.Missing(all); n > 0 || len(all) == 0 {
			t.Errorf("%d of %d reports are missing", n, len(all))
		}
		g.Agents[2].Cut() // so that the packs are the newcomer's
		g.AwaitPool(1)
		j.Each(1, 1)
		j.Complete()
	})
}

// TestP12AuthorRestartsWithoutItsPacks: an author that was cut, and lost its blobs but not its journal, offers its
// reports to stewards that never heard of them.
func TestP12AuthorRestartsWithoutItsPacks(t *testing.T) {
	gridtest.Run(t, 4, func(g *gridtest.Grid) {
		j := g.Submit(100)
		j.Await(time.Minute)
		g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
		author := g.Agents[0]
		own := j.RanOn(author)
		for _, m := range g.Agents {
			m.Cut()
		}
		author.Wipe("*.pem", "*.json", "records.db")
		author.Start()
		holders := g.Agents[1:3] // with their packs, but without any report
		for _, m := range holders {
			m.Wipe("*.pem", "*.json", "blobs")
			m.Start()
		}
		g.AwaitPool(3)
		if own == 0 {
			t.Fatal("the author ran nothing: this tests nothing")
		}
		for _, m := range holders {
			g.Eventually(3*time.Minute, "the others have the author's reports", func() bool {
				_, err := m.Node().Store.Job(j.ID)
				return err == nil && j.Counts(m).Accepted >= uint64(own)
			})
		}
	})
}

// TestDiskFull: the disk of an agent fills up in the middle of a job. The agent says so and takes no work and no
// stewardship until it can write again; nothing that was accepted is lost, and the job completes.
func TestDiskFull(t *testing.T) {
	gridtest.Run(t, 4, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(2 * time.Second))
		j := g.Submit(200)
		time.Sleep(9 * time.Second)
		halfway(t, j)
		full, acknowledged := g.Coordinator.Stewards(j)[0], j.Acknowledged()
		full.Fill(errors.New("no space left on device"))
		g.Eventually(20*time.Second, "the agent drains", func() bool {
			m, ok := g.Coordinator.Node().Member(full.Node().ID())
			return ok && m.Draining
		})
		if full.Refused() == 0 || full.Node().Disk() == nil || full.Node().Draining() == "" {
			t.Errorf("%d writes failed, the disk says %v, it drains because %q", full.Refused(), full.Node().Disk(), full.Node().Draining())
		}
		if slices.Contains(g.Coordinator.Stewards(j), full) {
			t.Error("an agent that cannot write is a steward")
		}
		if have := full.Node().Store.OwnShards(); len(have) == 0 {
			t.Error("an agent that cannot write does not show what it has")
		}
		time.Sleep(5 * time.Second)
		ran := j.RanOn(full)
		time.Sleep(20 * time.Second)
		if n := j.RanOn(full); n > ran {
			t.Errorf("ran %d units that it could not store", n-ran)
		}
		if n := j.Missing(acknowledged); n > 0 {
			t.Errorf("%d of %d acknowledged reports are missing", n, len(acknowledged))
		}
		j.Await(converge)
		j.Complete()
		full.Fill(nil)
		g.AwaitPool(4)
		if full.Node().Disk() != nil || full.Node().Draining() != "" {
			t.Errorf("the disk says %v, it drains because %q", full.Node().Disk(), full.Node().Draining())
		}
		next := g.Submit(100)
		next.Await(converge)
		if next.RanOn(full) == 0 {
			t.Error("an agent that can write again gets no work")
		}
		g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
		if n := j.Missing(acknowledged); n > 0 {
			t.Errorf("%d of %d acknowledged reports are missing", n, len(acknowledged))
		}
	})
}

// TestLesseeIsGone: a lessee whom gossip calls dead and who does not answer a dial loses its leases at once, however
// long leases live.
func TestLesseeIsGone(t *testing.T) {
	gridtest.Run(t, 4, func(g *gridtest.Grid) {
		g.Lease = steward.Lease{Period: time.Minute, TTL: time.Hour}
		for _, m := range g.Agents {
			m.Stop()
			m.Start()
		}
		g.AwaitPool(4)
		g.Work(gridtest.Takes(30 * time.Second))
		j := g.Submit(40)
		time.Sleep(10 * time.Second)
		var gone *gridtest.Machine
		for _, m := range g.Agents {
			if !slices.Contains(g.Coordinator.Stewards(j), m) {
				gone = m
			}
		}
		running := g.Running()
		gone.Cut()
		if now := g.Running(); now >= running {
			t.Fatalf("%d units ran, %d do now: the agent that was cut held nothing", running, now)
		}
		if took := j.Await(20 * time.Minute); took > 8*time.Minute {
			t.Errorf("took %s: leases waited for their end", took)
		}
		j.Each(1, 1)
	})
}
