package ctl

import (
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/coordinator/internal/pace"
	"idlegrid/jobs"
)

func TestTop(t *testing.T) {
	now := time.Unix(1000, 0)
	id := func(n byte) jobs.JobID { return jobs.JobID{n} }
	all := []jobStatus{
		{id: id(1), Name: "old", State: stateDone, Created: now.Add(-time.Hour), CPU: 10, spent: 10},
		{id: id(2), Name: "new", State: stateDone, Created: now, CPU: 10, spent: 10},
		{id: id(3), Name: "waits", State: stateUnknown, Created: now.Add(-time.Hour)},
		{id: id(4), Name: "idle", State: stateRunning, Created: now},
		{id: id(5), Name: "busy", State: stateRunning, Created: now.Add(-time.Hour), Lent: 8, Accepted: 30, CPU: 10, spent: 20},
	}
	byActivity(all)
	got := ""
	for _, s := range all {
		got += s.Name + " "
	}
	if got != "busy idle waits new old " {
		t.Errorf("order %q", got)
	}
	p := &pace.Pace{}
	p.Add(now.Add(-10*time.Second), 5)
	s := &screen{now: func() time.Time { return now }, paces: map[jobs.JobID]*pace.Pace{id(5): p}}
	members := []peer.Member{{Role: peer.Agent, Cores: 4}, {Role: peer.Agent}, {Role: peer.Coordinator}}
	if got, want := s.summary(members, all), "2 agents, 4 cores offered, 2 running jobs, 8 units lent, 2.5 units/s, 75 % of CPU time useful"; got != want {
		t.Errorf("%q, expected %q", got, want)
	}
}
