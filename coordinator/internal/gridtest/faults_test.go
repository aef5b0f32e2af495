package gridtest_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs/manifest"
)

// converge is how long ledgers may differ after the last fault (P4).
const converge = 5 * time.Minute

// TestP3TwentyAgents: 20 agents run 2,000 units, each exactly once, and the submitter gets what a direct
// computation gives.
func TestP3TwentyAgents(t *testing.T) {
	gridtest.Run(t, 20, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(2000)
		if took, ideal := j.Await(5*time.Minute), 50*time.Second; took > ideal+ideal/5 {
			t.Errorf("took %s, the slots alone need %s", took, ideal)
		}
		j.Each(1, 1)
		for _, m := range g.Agents {
			if n := j.RanOn(m); n < 50 {
				t.Errorf("%s ran %d of 2000 units", m.IP, n)
			}
		}
		g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
		j.Complete()
	})
}

// TestP1StewardStops: the first steward goes in the middle of a job and nothing acknowledged goes with it.
func TestP1StewardStops(t *testing.T) {
	for name, end := range ends() {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 5, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(time.Second))
				j := g.Submit(200)
				time.Sleep(8 * time.Second)
				steward := g.Coordinator.Stewards(j)[0]
				acknowledged := j.Acknowledged()
				halfway(t, j)
				end(steward)
				j.Await(converge)
				if s := g.Coordinator.Stewards(j); len(s) != 3 || slices.Contains(s, steward) {
					t.Errorf("%d stewards after one of them is gone", len(s))
				}
				if n := j.Missing(acknowledged); n > 0 {
					t.Errorf("%d of %d acknowledged reports are missing", n, len(acknowledged))
				}
				j.Each(1, 2)
				j.Complete()
			})
		})
	}
}

// halfway fails the test unless some of the job is done and some not.
func halfway(t *testing.T, j *gridtest.Job) {
	t.Helper()
	if done := j.Accepted(); done == 0 || done == j.Manifest.Units {
		t.Fatalf("%d of %d units are accepted at the moment of the fault", done, j.Manifest.Units)
	}
}

// TestP1AllStewardsStopAndReturn: nothing that was acknowledged is missing, and P4: the ledgers are equal within
// five minutes of the return. The job goes on without them.
func TestP1AllStewardsStopAndReturn(t *testing.T) {
	for name, end := range ends() {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 7, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(2 * time.Second))
				j := g.Submit(500)
				time.Sleep(12 * time.Second)
				acknowledged := j.Acknowledged()
				halfway(t, j)
				stewards := g.Coordinator.Stewards(j)
				for _, m := range stewards {
					end(m)
				}
				if len(stewards) != 3 || len(acknowledged) == 0 {
					t.Fatalf("%d stewards, %d reports acknowledged", len(stewards), len(acknowledged))
				}
				time.Sleep(90 * time.Second) // gossip may take 45 s to see it, and new stewards listen for 15 s
				if ranSince(j, g.On(), time.Minute) == 0 {
					t.Error("nothing ran while the stewards were off")
				}
				for _, m := range stewards {
					m.Start()
				}
				returned := time.Now()
				j.Await(converge)
				g.Eventually(converge-time.Since(returned), "ledgers are equal", j.LedgersEqual)
				if n := j.Missing(acknowledged); n > 0 {
					t.Errorf("%d of %d acknowledged reports are missing", n, len(acknowledged))
				}
				j.Each(1, 3)
				j.Complete()
			})
		})
	}
}

// TestCoordinatorOff: a job that was seeded completes without the coordinator, and is there for its submitter;
// and the coordinator comes back and takes the next one.
func TestCoordinatorOff(t *testing.T) {
	gridtest.Run(t, 4, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(100)
		time.Sleep(3 * time.Second)
		halfway(t, j)
		g.Coordinator.Stop()
		time.Sleep(time.Hour)
		if !j.Done() {
			t.Fatalf("%d of 100 units after an hour without the coordinator", j.Accepted())
		}
		j.Each(1, 1)
		j.Complete()
		g.Coordinator.Start()
		g.AwaitPool(4)
		next := g.Submit(50)
		next.Await(time.Minute)
		next.Complete()
	})
}

// TestP4PartitionHeals: both parts of a pool go on, and a few minutes after they found each other all stewards
// know the same.
func TestP4PartitionHeals(t *testing.T) {
	gridtest.Run(t, 20, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(10 * time.Second))
		j := g.Submit(1000)
		time.Sleep(15 * time.Second)
		halfway(t, j)
		few, many := g.Agents[:8], append(slices.Clone(g.Agents[8:]), g.Coordinator)
		g.Partition(few, many)
		time.Sleep(2 * time.Minute)
		for i, side := range [][]*gridtest.Machine{few, many[:12]} {
			if n := side[0].Eligible(); n != len(side) {
				t.Errorf("side %d sees %d agents, has %d", i, n, len(side))
			}
			if n := ranSince(j, side, time.Minute); n == 0 {
				t.Errorf("side %d ran nothing in the last minute of the partition", i)
			}
		}
		g.Heal()
		healed := time.Now()
		j.Await(converge)
		g.Eventually(converge-time.Since(healed), "ledgers are equal", j.LedgersEqual)
		g.AwaitPool(20)
		j.Each(1, 4)
		j.Complete()
	})
}

// ranSince counts the runs on machines that ended within the last so long.
func ranSince(j *gridtest.Job, on []*gridtest.Machine, within time.Duration) int {
	n := 0
	for unit := range j.Manifest.Units {
		for _, r := range j.Ran(unit) {
			if slices.Contains(on, r.On) && time.Since(r.Ended) <= within {
				n++
			}
		}
	}
	return n
}

// TestNewAddress: a machine comes back with its ID at another address, and is one agent as before.
func TestNewAddress(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(600)
		time.Sleep(5 * time.Second)
		halfway(t, j)
		m := g.Agents[1]
		id, address := m.Node().ID(), m.Node().Address()
		m.Cut()
		m.Move()
		back := time.Now()
		m.Start()
		moved := m.Node().Address()
		if m.Node().ID() != id || moved == address {
			t.Fatalf("agent %s at %s was %s at %s", m.Node().ID(), moved, id, address)
		}
		// What gossip does not bring in its first seconds comes with the exchange that each member has once a minute,
		// and another's may come first.
		g.Eventually(3*time.Minute, "all find it at its new address", func() bool {
			for _, o := range append(g.On(), g.Coordinator) {
				if seen, ok := o.Node().Member(id); !ok || seen.Address != moved || !seen.Reachable {
					return false
				}
			}
			return true
		})
		j.Await(converge)
		if ranSince(j, g.Agents[1:2], time.Since(back)) == 0 {
			t.Error("it ran nothing at its new address")
		}
		g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
		j.Each(1, 2)
		j.Complete()
	})
}

// TestClone: two machines run with one state folder's identity, started from the same image or from one that
// runs. Work goes on, what both report is kept, and the clone is noticed.
func TestClone(t *testing.T) {
	for _, twin := range []bool{false, true} {
		t.Run(fmt.Sprint("same boot counter ", twin), func(t *testing.T) {
			gridtest.Run(t, 4, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(time.Second))
				m := g.Agents[1]
				if twin {
					m.Stop()
				}
				clone := m.Clone()
				clone.Start()
				if twin {
					m.Start()
				}
				j := g.Submit(400)
				time.Sleep(20 * time.Second)
				halfway(t, j)
				j.Await(10 * time.Minute)
				if j.RanOn(m)+j.RanOn(clone) == 0 {
					t.Error("neither of the two ran anything")
				}
				runs := 0
				for unit := range j.Manifest.Units {
					runs += len(j.Ran(unit))
				}
				t.Logf("the original ran %d units, the clone %d, of 400; %d runs, %s", j.RanOn(m), j.RanOn(clone), runs, time.Since(j.Manifest.Created))
				const warning = "another agent runs with this machine's identity"
				if m.Logged(warning)+clone.Logged(warning) == 0 {
					t.Error("neither of the two says that there are two")
				}
				g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
				j.Complete()
			})
		})
	}
}

// TestExpiryByAWrongClock: a job is past its time by one clock and not by the other, which is nothing to look at all the time.
func TestExpiryByAWrongClock(t *testing.T) {
	gridtest.Run(t, 4, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Hour))
		g.Submit(4*gridtest.Slots, func(m *manifest.Manifest) { m.Expires = m.Created.Add(time.Minute) })
		time.Sleep(50 * time.Second)
		m := g.Agents[0]
		m.Skew(-time.Hour)
		time.Sleep(5 * time.Second)
		before := m.Agent().Steps()
		time.Sleep(10 * time.Second)
		if n := m.Agent().Steps() - before; n > 100 {
			t.Errorf("%d steps in ten seconds", n)
		}
	})
}

// TestPoolOfTwoLosesOne: the rest of the job is done by the one that is left, and nothing waits for the other.
func TestPoolOfTwoLosesOne(t *testing.T) {
	for name, end := range ends() {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 2, func(g *gridtest.Grid) {
				g.Work(gridtest.Takes(time.Second))
				j := g.Submit(100)
				time.Sleep(5 * time.Second)
				halfway(t, j)
				acknowledged := j.Acknowledged()
				end(g.Agents[0])
				j.Await(converge)
				if n := j.Missing(acknowledged); n > 0 {
					t.Errorf("%d of %d acknowledged reports are missing", n, len(acknowledged))
				}
				j.Each(1, 2)
				j.Complete()
			})
		})
	}
}

// TestPacketLoss: a fifth of all packets is lost, and no unit needs to run again for that.
func TestPacketLoss(t *testing.T) {
	gridtest.Run(t, 6, func(g *gridtest.Grid) {
		g.Net.SetLoss(0.2)
		g.Work(gridtest.Takes(time.Second))
		before := g.Net.Counts().Lost
		j := g.Submit(600, func(m *manifest.Manifest) { m.Bundle = 2 })
		j.Await(3 * time.Minute)
		if n := g.Net.Counts().Lost - before; n < 20 {
			t.Errorf("%d packets were lost", n)
		}
		g.Eventually(converge, "ledgers are equal", j.LedgersEqual)
		j.Each(1, 2)
		j.Complete()
	})
}
