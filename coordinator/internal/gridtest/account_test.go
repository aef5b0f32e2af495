package gridtest_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"idlegrid/agent"
	"idlegrid/agent/peer"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
)

// spends fails the test unless what the coordinator has of somebody's work is what the units of their jobs took.
func spends(t *testing.T, g *gridtest.Grid, when string, by *gridtest.User, all ...*gridtest.Job) ledger.Spend {
	t.Helper()
	var want gridtest.Truth
	for _, j := range all {
		if j.By != by {
			continue
		}
		o := j.Truth()
		want.Useful, want.Failed, want.Rest = want.Useful+o.Useful, want.Failed+o.Failed, want.Rest+o.Rest
		want.Runs += o.Runs
	}
	got := g.Spent(by.Identity.ID())
	near := func(us uint64, d time.Duration) bool { // what runs went on from travels in milliseconds
		return (time.Duration(us)*time.Microsecond - d).Abs() <= time.Duration(want.Runs)*time.Millisecond
	}
	if !near(got.CPU[ledger.UsefulCPU], want.Useful) || !near(got.CPU[ledger.FailedCPU], want.Failed) ||
		!near(got.CPU[ledger.RepeatedCPU]+got.CPU[ledger.LostCPU], want.Rest) {
		t.Errorf("%s: spent %d µs (useful, repeated, failed, lost, overhead) over %d runs, expected %s useful, %s failed, and %s repeated or lost",
			when, got.CPU, want.Runs, want.Useful, want.Failed, want.Rest)
	}
	return got
}

// sameEverywhere fails the test unless each steward that is on computes of each job what the coordinator has.
func sameEverywhere(t *testing.T, g *gridtest.Grid, when string, all ...*gridtest.Job) {
	t.Helper()
	for _, j := range all {
		shard := jobs.ShardID{Job: j.ID}
		for _, m := range j.Stewards(shard) {
			var account []ledger.HourSpend
			if err := m.Node().Store.WithLedger(shard, func(l *ledger.Ledger) { account = l.Account() }); err != nil {
				t.Error(err)
			}
			if got := g.Accounts().Job(j.ID); !slices.Equal(got, account) {
				t.Errorf("%s: the coordinator has %v of a job, steward %s %v", when, got, m.IP, account)
			}
		}
	}
}

// TestP7TotalsAreTheTruth: owners come back, agents stop, lose their power and are cut off for longer than their leases,
// units fail and run twice, the coordinator is off, and loses its disk. What it says then that the work of each submitter
// has cost is what their units took, and so is what a coordinator says that has only its keys.
func TestP7TotalsAreTheTruth(t *testing.T) {
	gridtest.Run(t, 4, func(g *gridtest.Grid) {
		var mu sync.Mutex
		tried := map[string]bool{}
		g.Work(func(u gridtest.Unit) gridtest.Result {
			mu.Lock()
			defer mu.Unlock()
			takes := 3 * time.Second
			if u.Number < 40 {
				takes = 100*time.Second + time.Duration(u.Number%7)*11*time.Second
			}
			r := gridtest.Result{Takes: takes, Outcome: gridtest.Compute(u.Program, u.Number), Saves: true}
			if id := fmt.Sprint(u.Program, u.Number); u.Number > 100 && u.Number%9 == 4 && !tried[id] {
				tried[id], r.Failure = true, jobs.Failure{Kind: jobs.FailureTrap}
			}
			return r
		})
		bob := g.NewUser(peer.Submitter, "bob")
		saved := func(m *manifest.Manifest) { m.Checkpoint = 20 * time.Second }
		all := []*gridtest.Job{g.Submit(120, saved), bob.Submit(130, saved)}
		for round := range 2 {
			churn(t, g, round)
		}
		for _, j := range all {
			j.Await(time.Hour)
			j.Complete()
		}
		g.Eventually(converge, "ledgers are equal", func() bool { return all[0].LedgersEqual() && all[1].LedgersEqual() })
		time.Sleep(2 * time.Minute) // agents say what came to nothing, and the coordinator looks
		var sum ledger.Spend
		for _, by := range []*gridtest.User{g.User, bob} {
			sum.Add(spends(t, g, "at the end", by, all...))
		}
		sameEverywhere(t, g, "at the end", all...)
		t.Logf("spent %d s, by %d runs", sum.CPU, sum.Runs)
		for u, us := range sum.CPU {
			if us == 0 {
				t.Errorf("nothing is %s", ledger.Use(u))
			}
		}
		used := time.Duration(0)
		for _, m := range g.Agents[:3] { // what the last one used may have gone with its power
			used += m.Used()
		}
		if got := time.Duration(sum.CPU[ledger.OverheadCPU]) * time.Microsecond; got < used || got > used+g.Agents[3].Used() {
			t.Errorf("%s are overhead, agents used %s, and one that lost its power %s", got, used, g.Agents[3].Used())
		}
		before := []ledger.Spend{g.Spent(g.User.Identity.ID()), g.Spent(bob.Identity.ID())}
		g.Coordinator.Stop()
		g.Coordinator.Wipe(keys...)
		g.Coordinator.Join = []string{g.Agents[0].Node().Address()}
		g.Coordinator.Start()
		time.Sleep(3 * time.Minute)
		for i, by := range []*gridtest.User{g.User, bob} {
			if got := spends(t, g, "from its keys", by, all...); got != before[i] {
				t.Errorf("a coordinator with only its keys says %v, it said %v before", got, before[i])
			}
		}
		sameEverywhere(t, g, "from its keys", all...)
	})
}

// churn does to a grid what may happen on a day. Only the last agent loses its power, at moments at which nothing has
// ended there that is in no report yet.
func churn(t *testing.T, g *gridtest.Grid, round int) {
	busy := func(m *gridtest.Machine) func() bool { return func() bool { return len(g.InHand(m)) > 0 } }
	await := func(m *gridtest.Machine) {
		t.Helper()
		g.Eventually(5*time.Minute, "the agent works", busy(m))
	}
	a, b, c, d := g.Agents[0], g.Agents[1], g.Agents[2], g.Agents[3]

	await(a) // its owner comes back, and stays
	time.Sleep(30 * time.Second)
	a.Offer(agent.Offer{})
	time.Sleep(20 * time.Second)
	a.Offer(agent.Offer{GiveBack: true})
	time.Sleep(time.Minute)
	a.Offer(agent.Offer{Slots: gridtest.Slots})

	await(b) // shut down
	time.Sleep(25 * time.Second)
	b.Stop()
	time.Sleep(30 * time.Second)
	b.Start()
	g.AwaitPool(4)

	g.Coordinator.Stop()
	g.Eventually(10*time.Minute, "a moment to cut the power", func() bool { return len(g.InHand(d)) == gridtest.Slots && d.Quiet() })
	d.Cut()
	time.Sleep(90 * time.Second)
	d.Start()
	if round > 0 {
		g.Coordinator.Wipe(keys...)
		g.Coordinator.Join = []string{a.Node().Address()}
	}
	g.Coordinator.Start()
	g.AwaitPool(4)

	g.Eventually(10*time.Minute, "a unit has just begun", func() bool {
		return slices.ContainsFunc(g.InHand(c), func(r gridtest.UnitRun) bool { return time.Since(r.Started) < 5*time.Second })
	})
	if round > 0 {
		time.Sleep(30 * time.Second) // with a checkpoint that others know
	}
	g.Partition([]*gridtest.Machine{c}, []*gridtest.Machine{a, b, d, g.Coordinator})
	time.Sleep(4 * time.Minute)
	g.Heal()
	g.AwaitPool(4)
}
