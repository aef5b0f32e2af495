package gridtest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// figuresVariable names which of the README's figures are measured, and printed as rows of its table: traffic or kills.
// They are measured in virtual time, so that a busy machine changes nothing but how long it takes.
const figuresVariable = "FIGURES"

func figures(t *testing.T, which string) {
	t.Helper()
	if os.Getenv(figuresVariable) != which {
		t.Skipf("%s=%s measures this", figuresVariable, which)
	}
	percent := debug.SetGCPercent(400)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
}

// What TestFiguresTraffic simulates.
const (
	settling   = 5 * time.Minute
	idleLasts  = 10 * time.Minute
	churnLasts = 10 * time.Minute
	churnEvery = 5 * time.Minute // one agent in ten loses its power
	churnOff   = 2 * time.Minute // and comes back so long after
	unitTakes  = time.Minute
	unitBytes  = 10 << 10 // of output that does not compress
)

// TestFiguresTraffic prints what a peer sends a second: idle, with a finished job whose records and results are kept, and
// under churn while a job keeps every slot busy.
func TestFiguresTraffic(t *testing.T) {
	figures(t, "traffic")
	for _, agents := range []int{10, 50, 100} {
		t.Run(fmt.Sprint(agents), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { traffic(t, agents) })
		})
	}
}

func traffic(t *testing.T, agents int) {
	g := gridtest.New(t)
	g.Work(func(u gridtest.Unit) gridtest.Result {
		noise := make([]byte, unitBytes)
		_, _ = rand.NewChaCha8(u.Program).Read(noise) // it never fails
		return gridtest.Result{Takes: unitTakes, Outcome: record.Outcome{Stdout: fmt.Appendf(noise, "%d", u.Number)}}
	})
	for range agents {
		g.Add(peer.AlwaysOn).Start()
	}
	g.AwaitPool(agents)
	const each = 10 // units of the kept job for an agent
	g.Submit(uint64(each * agents)).Await(time.Hour)
	time.Sleep(settling)

	before, sentBefore := g.Traffic(), sum(sent(g))
	time.Sleep(idleLasts)
	idle, all := g.Traffic().Minus(before), sum(sent(g))-sentBefore
	if counted := idle.Gossip + idle.Calls; counted < all*99/100 || counted > all*101/100 {
		t.Errorf("counted %d bytes, and the network carried %d", counted, all)
	}
	show(t, agents, "idle", idle, idleLasts)

	slots := uint64(agents * gridtest.Slots)
	j := g.Submit(slots * uint64(churnLasts/unitTakes) * 2)
	g.Eventually(10*time.Minute, "all are busy", func() bool { return uint64(g.Running()) == slots })
	before = g.Traffic()
	hit := 0
	for range churnLasts / churnEvery {
		var cut []*gridtest.Machine
		for _, i := range g.Rand.Perm(agents)[:agents/10] {
			cut = append(cut, g.Agents[i])
		}
		hit += len(g.InHand(cut...))
		cutAll(g, cut)
		time.Sleep(churnOff)
		for _, m := range cut {
			m.Start()
		}
		time.Sleep(churnEvery - churnOff)
	}
	churn := g.Traffic().Minus(before)
	if hit == 0 || j.Done() {
		t.Errorf("%d units were hit, and the job is done: %t", hit, j.Done())
	}
	show(t, agents, "churn", churn, churnLasts)
	t.Logf("units hit: %d; accepted: %d", hit, j.Accepted())
}

// cutAll cuts the power of machines at the same time.
func cutAll(g *gridtest.Grid, machines []*gridtest.Machine) {
	for _, m := range machines {
		g.Net.Stop(m.IP)
	}
	for _, m := range machines {
		m.Cut()
	}
}

func show(t *testing.T, agents int, what string, bytes gridtest.Traffic, over time.Duration) {
	rate := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/float64(agents+1)/over.Seconds()) }
	t.Logf("| %d agents, %s, bytes a second and peer: gossip %s | spread %s | repair %s | work %s | connections %s |",
		agents, what, rate(bytes.Gossip), rate(bytes.Spread), rate(bytes.Repair), rate(bytes.Work), rate(bytes.Upkeep))
}

func sum(bytes map[*gridtest.Machine]int64) (total int64) {
	for _, n := range bytes {
		total += n
	}
	return total
}

// TestFiguresKills prints how much work of a unit a power cut costs: what it had behind it then, less what the next
// agent went on with.
func TestFiguresKills(t *testing.T) {
	figures(t, "kills")
	for _, interval := range []time.Duration{10 * time.Second, 30 * time.Second, 2 * time.Minute} {
		t.Run(interval.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { kills(t, interval) })
		})
	}
}

func kills(t *testing.T, interval time.Duration) {
	const agents, rounds = 6, 30
	g := gridtest.New(t)
	g.Work(func(u gridtest.Unit) gridtest.Result {
		return gridtest.Result{Takes: 1000 * time.Hour, Outcome: gridtest.Compute(u.Program, u.Number), Saves: true}
	})
	for range agents {
		g.Add(peer.AlwaysOn).Start()
	}
	g.AwaitPool(agents)
	// One agent is free to go on with what another had.
	j := g.Submit((agents-1)*gridtest.Slots, func(m *manifest.Manifest) {
		m.Timeout = manifest.MaxTimeout
		if interval != manifest.DefaultCheckpoint {
			m.Checkpoint = interval
		}
		m.Expires = m.Created.Add(29 * 24 * time.Hour)
	})
	var lost []time.Duration
	for range rounds {
		g.Eventually(10*time.Minute, "all units run", func() bool { return g.Running() == int(j.Manifest.Units) })
		time.Sleep(2*interval + time.Duration(g.Rand.Int64N(int64(interval))))
		busy := slices.DeleteFunc(g.On(), func(m *gridtest.Machine) bool { return len(g.InHand(m)) == 0 })
		victim, ok := pick(g.Rand, busy)
		if !ok {
			t.Fatal("nobody runs anything")
		}
		at, runs, first := time.Now(), g.InHand(victim), g.Coordinator.Stewards(j)[0] == victim
		others := g.InHand(slices.DeleteFunc(g.On(), func(m *gridtest.Machine) bool { return m == victim })...)
		victim.Cut()
		for _, r := range runs {
			if slices.ContainsFunc(others, func(o gridtest.UnitRun) bool { return o.Number == r.Number }) {
				continue // it ran twice, which a change of stewards may bring, and goes on there
			}
			var next gridtest.UnitRun
			g.Eventually(10*time.Minute, "another goes on", func() bool {
				all := j.Runs(r.Number)
				next = all[len(all)-1]
				return next.Started.After(at)
			})
			l := max(0, r.From+at.Sub(r.Started)-next.From) // another may have been further, where a unit ran twice
			lost = append(lost, l)
			if l > interval {
				t.Logf("unit %d lost %s at once; its agent was the shard's first steward: %t", r.Number, l, first)
			}
		}
		victim.Start()
		g.AwaitPool(agents)
	}
	slices.Sort(lost)
	var total time.Duration
	for _, l := range lost {
		total += l
	}
	most := lost[len(lost)-1]
	t.Logf("| work lost by a unit whose agent is killed, checkpoints every %s | %.1f s, at most %.1f s (%d units) |",
		interval, (total / time.Duration(len(lost))).Seconds(), most.Seconds(), len(lost))
}
