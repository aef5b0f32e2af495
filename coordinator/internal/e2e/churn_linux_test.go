package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"idlegrid/jobs"
)

const (
	// churnVariable says how long TestChurn goes on, as in "5m".
	churnVariable = "E2E_CHURN"
	someChurn     = 30 * time.Second
	// churnAgents are spread over two subnets.
	churnAgents = 10
	churnUnits  = 60
	churnSpin   = 300e6
	// churnLoss is the share of the packets between hosts that is lost.
	churnLoss = 0.02
	// longestDown is how long an agent that was killed stays away at most.
	longestDown = 6 * time.Second
	// longestCut is how long the line between the subnets is cut at a time.
	longestCut = 15 * time.Second
)

// TestChurn runs jobs on ten agents in two subnets, in network namespaces, while packets are lost, an agent is killed
// every few seconds, the line between the subnets is cut in both directions and then in one, and halfway the
// coordinator loses all but its keys. In the end every outcome is that of the undisturbed run.
func TestChurn(t *testing.T) {
	t.Parallel()
	length := someChurn
	if text := os.Getenv(churnVariable); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", churnVariable, err)
		}
	}
	seed := number(t, seedVariable, int(time.Now().UnixNano()&0xffffff))
	t.Logf("%s; repeat with %s=%d", length, seedVariable, seed)
	c := newChurn(t, length, rand.New(rand.NewPCG(uint64(seed), 1)))
	c.trouble(length)
	c.finish()
}

// churn is a grid in trouble, and the account of what happened to it.
type churn struct {
	*grid
	net    *internet
	random *rand.Rand
	jobs   []jobs.JobID
	back   map[*daemon]time.Time // agents that are down, until when
	kills  int
	busy   int // kills of agents that held units
}

func newChurn(t *testing.T, length time.Duration, random *rand.Rand) *churn {
	t.Helper()
	c := &churn{net: newInternet(t), random: random, back: map[*daemon]time.Time{}}
	c.grid = emptyGrid(t, patience+2*length)
	c.on(c.coordinator, "198.18.1.1")
	c.coordinator.flags = append(c.coordinator.flags, "--listen", "198.18.1.1:4780")
	c.coordinator.start()
	c.must("gridctl", "login", c.token("--role", "submitter", "--owner", alice))
	for i := range churnAgents {
		addr := fmt.Sprintf("198.18.%d.%d", 1+i%2, 10+i)
		a := c.daemon("gridagent", fmt.Sprintf("agent%d", i+1), "--cores", "1", "--lease-period", "2s", "--lease-ttl", "10s",
			"--listen", addr+":0")
		c.must("gridagent", "join", "--state", a.state, c.token("--class", always))
		c.on(a, addr)
		a.start()
		c.agents = append(c.agents, a)
	}
	c.awaitEligible(churnAgents)
	c.must("gridctl", "run", c.job("local", churnUnits, churnSpin, ""), "-d", "local-results")
	c.net.set(churnLoss, c.net.cut)
	return c
}

// on puts a daemon on a host of its own.
func (c *churn) on(d *daemon, addr string) { d.on = c.net.addHost(addr).command }

// trouble lets things happen for a while.
func (c *churn) trouble(length time.Duration) {
	c.t.Helper()
	began := time.Now()
	past := func(share float64) bool { return time.Since(began) > time.Duration(share*float64(length)) }
	acts := []struct {
		at  float64 // share of the length
		act func()
	}{
		{0.2, func() { c.net.set(churnLoss, between(1, 2)) }},
		{0.2 + min(0.2, longestCut.Seconds()/length.Seconds()), func() { c.net.set(churnLoss, oneWay(1, 2)) }},
		{0.5, func() { c.net.set(churnLoss, func(_, _ netip.Addr) bool { return false }) }},
		{0.5, func() { c.coordinator.kill(); c.onlyKeys(); c.coordinator.start() }},
	}
	pace := time.NewTicker(time.Second)
	defer pace.Stop()
	for !past(1) {
		for len(acts) > 0 && past(acts[0].at) {
			acts[0].act()
			acts = acts[1:]
		}
		c.feed()
		c.revive(time.Now())
		if c.random.Float64() < 0.4 {
			c.strike()
		}
		select {
		case <-pace.C:
		case <-c.ctx.Done():
			c.t.Fatal("the test's time is up in the middle of things")
		}
	}
	if len(acts) > 0 {
		c.t.Fatalf("%d things did not happen", len(acts))
	}
}

// between cuts the line between two subnets, and oneWay what goes from the first to the second.
func between(a, b byte) func(from, to netip.Addr) bool {
	there, back := oneWay(a, b), oneWay(b, a)
	return func(from, to netip.Addr) bool { return there(from, to) || back(from, to) }
}

func oneWay(a, b byte) func(from, to netip.Addr) bool {
	return func(from, to netip.Addr) bool { return from.As4()[2] == a && to.As4()[2] == b }
}

// feed submits a job when the last one is half done, if the coordinator takes it. On a busy machine that may be one
// job and no more.
func (c *churn) feed() {
	c.t.Helper()
	if len(c.jobs) > 0 {
		var s status
		out := c.run("gridctl", "status", c.jobs[len(c.jobs)-1].String(), "-o", "json")
		if out.code != 0 || json.Unmarshal([]byte(out.stdout), &s) != nil || s.Accepted < churnUnits/2 {
			return // in such times it may be that nobody says
		}
	}
	job := c.job(fmt.Sprintf("churn%d", len(c.jobs)), churnUnits, churnSpin, "")
	if out := c.run("gridctl", "submit", job, "-o", "json"); out.code == 0 {
		var s status
		if err := json.Unmarshal([]byte(out.stdout), &s); err != nil {
			c.t.Fatal(err)
		}
		id, err := jobs.ParseJobID(s.ID)
		if err != nil {
			c.t.Fatal(err)
		}
		c.jobs = append(c.jobs, id)
	}
}

// revive starts the agents again whose time has come; at the zero time, all.
func (c *churn) revive(now time.Time) {
	c.t.Helper()
	for _, a := range c.agents {
		if until, down := c.back[a]; down && (now.IsZero() || now.After(until)) {
			a.start()
			delete(c.back, a)
		}
	}
}

// strike kills an agent.
func (c *churn) strike() {
	c.t.Helper()
	up := slices.DeleteFunc(slices.Clone(c.agents), func(a *daemon) bool { _, down := c.back[a]; return down })
	victim := up[c.random.IntN(len(up))]
	if c.holds(victim) {
		c.busy++
	}
	victim.kill()
	if !victim.wasKilled() {
		c.t.Fatalf("%s was not killed, but ended: %s", victim.name, victim.cmd.ProcessState)
	}
	c.kills++
	c.back[victim] = time.Now().Add(time.Duration(c.random.Int64N(int64(longestDown))))
}

// holds reports whether an agent runs something by its own word.
func (c *churn) holds(a *daemon) bool {
	out := c.run("gridagent", "status", "--state", a.state, "-o", "json")
	var s struct{ Units []json.RawMessage }
	return out.code == 0 && json.Unmarshal([]byte(out.stdout), &s) == nil && len(s.Units) > 0
}

// finish heals everything, waits for all jobs and compares their outcomes with those of the undisturbed run.
func (c *churn) finish() {
	t := c.t
	t.Helper()
	c.revive(time.Time{})
	c.awaitEligible(churnAgents)
	needed, executed := 0, 0
	for i, id := range c.jobs {
		dir := fmt.Sprintf("results%d", i)
		c.must("gridctl", "results", id.String(), "--wait", "-d", dir)
		c.sameUnits(dir, "local-results")
		needed += churnUnits
		for _, r := range c.allReports(id) {
			for _, b := range r.Bundles {
				executed += len(b.Units)
			}
		}
	}
	t.Logf("%d jobs; %d kills, %d of agents that ran units; packets: %d passed, %d lost, %d cut off; units run %d, needed %d: %.3f",
		len(c.jobs), c.kills, c.busy, c.net.passed.Load(), c.net.lost.Load(), c.net.stopped.Load(), executed, needed,
		float64(executed)/float64(needed))
	if c.busy == 0 || c.net.lost.Load() == 0 || c.net.stopped.Load() == 0 || len(c.jobs) == 0 {
		t.Error("that is too little trouble to show anything")
	}
	if !bytes.Contains([]byte(c.coordinator.log()), []byte("no grid.json here")) {
		t.Error("the coordinator did not lose its disk")
	}
}
