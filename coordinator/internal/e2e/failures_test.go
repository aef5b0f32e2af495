package e2e_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// TestFailingUnit runs a job of which one unit always fails: it is tried again, by another agent, and the job
// ends incomplete with all that there is.
func TestFailingUnit(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always, always)
	const bad = 4
	job := g.job("failing", 8, 20e6, fmt.Sprintf("args: [\"${unit}\", \"%d\"]\nretries: 1", bad))
	id := g.submit(job)
	out := g.exits(3, "gridctl", "results", id.String(), "--wait", "-d", "results")
	out.says(t, "unit 4 failed: exit: ", "1 of 8 units failed, 0 open")
	for _, r := range g.units("results") {
		want := "accepted"
		if r.Unit == bad {
			want = "failed"
		}
		if r.Status != want || r.Digest == "" {
			t.Errorf("unit %d is %s with digest %q, expected %s", r.Unit, r.Status, r.Digest, want)
		}
	}
	if got := g.read("results", "units", "000004", "stderr"); got != "4\x004\x00" {
		t.Errorf("standard error of the unit that failed: %q", got)
	}
	g.triedByTwo(id, bad)
	if s := g.status("failing"); s.State != "incomplete" || s.Failed != 1 || s.Accepted != 7 {
		t.Errorf("status: %+v", s)
	}
}

// triedByTwo fails the test unless two agents failed a unit, each in an attempt of its own.
func (g *grid) triedByTwo(id jobs.JobID, unit uint64) {
	g.t.Helper()
	by := map[jobs.AgentID]uint32{}
	for _, r := range g.allReports(id) {
		for _, b := range r.Bundles {
			for _, u := range b.Units {
				if u.Unit == unit && u.Failure.Failed() {
					by[r.Author] = b.Attempt
				}
			}
		}
	}
	attempts := map[uint32]bool{}
	for _, attempt := range by {
		attempts[attempt] = true
	}
	if len(by) != 2 || len(attempts) != 2 {
		g.t.Errorf("unit %d was failed in attempts %v, expected two of two agents", unit, by)
	}
}

// allReports unites what all agents that run keep of a job.
func (g *grid) allReports(id jobs.JobID) map[jobs.Digest]*record.Report {
	g.t.Helper()
	all := map[jobs.Digest]*record.Report{}
	for _, a := range g.agents {
		if a.addresses().PID != a.cmd.Process.Pid {
			continue
		}
		for id, r := range g.reports(a, id) {
			all[id] = r
		}
	}
	return all
}

// TestAgentKilled kills one of three agents halfway through a job, while it holds units that another lent it.
func TestAgentKilled(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always, always)
	job := g.job("killed", 40, 200e6, "")
	g.must("gridctl", "run", job, "-d", "local")
	id := g.submit(job)
	stewards := peer.Stewards(jobs.ShardID{Job: id}, g.members(g.agents[0]))
	first, victim := g.agent(stewards[0].ID), g.agent(stewards[2].ID)
	holds := func() bool {
		return slices.ContainsFunc(g.summary(first, id).GetLessees(), func(l []byte) bool { return bytes.Equal(l, stewards[2].ID[:]) })
	}
	g.untilWorked(id, victim)
	g.until("the victim holds units", holds)
	victim.kill()
	if s := g.summary(first, id); !victim.wasKilled() || !holds() || s.GetOpen() == 0 || s.GetAccepted() == 0 {
		t.Errorf("at the kill the victim held no units, or the job was not halfway: %v", s)
	}
	g.must("gridctl", "results", id.String(), "--wait", "-d", "results")
	g.sameUnits("results", "local")
}

// untilWorked waits until an agent has reported something of a job, and a steward that is not this agent
// keeps it.
func (g *grid) untilWorked(id jobs.JobID, a *daemon) {
	g.t.Helper()
	author := g.idOf(a)
	g.until(a.name+" has worked", func() bool {
		for _, other := range g.agents {
			if other == a {
				continue
			}
			for _, r := range g.reports(other, id) {
				if r.Author == author {
					return true
				}
			}
		}
		return false
	})
}

// TestPowerCut kills all agents at once and starts them again: what stewards had acknowledged is there.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always, always)
	job := g.job("powercut", 40, 200e6, "")
	g.must("gridctl", "run", job, "-d", "local")
	id := g.submit(job)
	g.until("some units are accepted", func() bool { return g.status("powercut").Accepted >= 8 })
	g.exits(3, "gridctl", "results", id.String(), "-d", "before")
	kept := g.allReports(id)
	for _, a := range g.agents {
		a.kill()
	}
	if rows := g.units("before"); !slices.ContainsFunc(rows, func(r row) bool { return r.Status == "open" }) {
		t.Error("the job was done before the power cut")
	}
	for _, a := range g.agents {
		a.start()
	}
	g.must("gridctl", "results", id.String(), "--wait", "-d", "results")
	g.sameUnits("results", "local")
	after := g.units("results")
	for _, r := range g.units("before") {
		if r.Status == "accepted" && after[r.Unit] != r {
			t.Errorf("before the power cut: %v, after: %v", r, after[r.Unit])
		}
	}
	now := g.allReports(id)
	for id := range kept {
		if now[id] == nil {
			t.Errorf("report %s is gone", id)
		}
	}
	if len(kept) == 0 || len(now) <= len(kept) {
		t.Errorf("%d reports before the power cut, %d after", len(kept), len(now))
	}
}

// TestWithoutCoordinator stops the coordinator once a job is seeded.
func TestWithoutCoordinator(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always, always)
	job := g.job("alone", 20, 200e6, "")
	g.must("gridctl", "run", job, "-d", "local")
	spare := g.token("--role", "submitter")
	id := g.submit(job)
	g.coordinator.stop()
	g.must("gridctl", "results", id.String(), "--wait", "-d", "results")
	g.sameUnits("results", "local")
	if s := g.status("alone"); s.State != "done" {
		t.Errorf("status: %+v", s)
	}
	g.exits(1, "gridctl", "submit", job).says(t, "submit needs the coordinator", "hint: jobs that were submitted go on without it")
	g.submitter = "newcomer"
	g.exits(1, "gridctl", "login", spare).says(t, "connection refused", "hint: is the coordinator running")
	g.submitter = alice
	g.coordinator.start()
	g.until("the pool knows where the coordinator is now", func() bool { return g.run("gridctl", "submit", job).code == 0 })
}

// TestCoordinatorKilled takes the coordinator away without a farewell: gossip still shows it.
func TestCoordinatorKilled(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always)
	job := g.job("gone", 1, 1, "")
	g.must("gridctl", "status") // to learn of the agent
	g.coordinator.kill()
	g.exits(1, "gridctl", "submit", job).says(t, "submit needs the coordinator", "hint: jobs that were submitted go on without it")
}

// TestSmallPools submits a job before there is any agent, and runs jobs in pools of one and of two.
func TestSmallPools(t *testing.T) {
	t.Parallel()
	const only = "results on one machine only"
	g := newGrid(t)
	job := g.job("small", 6, 20e6, "")
	g.must("gridctl", "run", job, "-d", "local")
	g.must("gridctl", "submit", job).says(t, "no agent is here yet: the coordinator hands it over when one is")
	g.must("gridctl", "status", "small").says(t, "no steward of this job answers")
	g.addAgent(always)
	g.must("gridctl", "results", "small", "--wait", "-d", "one")
	g.sameUnits("one", "local")
	g.must("gridctl", "status", "small").says(t, only)

	g.addAgent(always)
	g.awaitEligible(2)
	second := g.job("second", 6, 20e6, "")
	g.must("gridctl", "submit", second, "--wait", "-d", "two")
	g.sameUnits("two", "local")
	if out := g.must("gridctl", "status", "second"); strings.Contains(out.stderr, only) {
		t.Errorf("two agents, but: %s", out.stderr)
	}
}

// TestOffice gives a job to an agent whose owner nobody can see: it keeps records and refuses work, which
// waits for an agent that may do it.
func TestOffice(t *testing.T) {
	t.Parallel()
	g := newGrid(t, office)
	job := g.job("office", 4, 1, "")
	g.must("gridctl", "run", job, "-d", "local")
	g.exits(124, "gridctl", "submit", job, "--wait", "--timeout", "3s").says(t, "the job goes on")
	if s := g.status("office"); s.Open != 4 || s.Stewards != 1 {
		t.Errorf("status with an office agent only: %+v", s)
	}
	g.until("the agent says why it does not work", func() bool { return slices.Contains(g.agentStatus(g.agents[0]).Idle, unseen) })
	id, err := jobs.ParseJobID(g.status("office").ID)
	if err != nil {
		t.Fatal(err)
	}
	g.addAgent(always)
	g.must("gridctl", "results", id.String(), "--wait", "-d", "results")
	g.sameUnits("results", "local")
	g.until("the office agent keeps the reports too", func() bool { return len(g.reports(g.agents[0], id)) > 0 })
	for _, r := range g.reports(g.agents[0], id) {
		for _, m := range g.members(g.agents[0]) {
			if m.ID == r.Author && m.Address == g.agents[0].addresses().Grid {
				t.Error("the office agent has worked")
			}
		}
	}
}
