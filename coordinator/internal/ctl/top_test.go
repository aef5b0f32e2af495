package ctl

import (
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/coordinator/internal/pace"
	"idlegrid/jobs"
)

func TestTop(t *testing.T) {
	now := time.Unix(1000, 0)
	id := func(n byte) jobs.JobID { return jobs.JobID{n} }
	agent := jobs.AgentID{1}
	all := []jobStatus{
		{id: id(1), Name: "old", State: stateDone, Created: now.Add(-time.Hour), CPU: 10, spent: 10},
		{id: id(2), Name: "new", State: stateDone, Created: now, CPU: 10, spent: 10},
		{id: id(3), Name: "waits", State: stateUnknown, Created: now.Add(-time.Hour)},
		{id: id(4), Name: "idle", State: stateRunning, Created: now},
		{id: id(5), Name: "busy", State: stateRunning, Created: now.Add(-time.Hour), Lent: 8, Accepted: 30, CPU: 10, spent: 20, lessees: string(agent[:])},
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
	members := []peer.Member{{ID: agent, Role: peer.Agent, Cores: 4}, {Role: peer.Agent, Cores: 2}, {Role: peer.Coordinator}}
	const want = "2 agents, 6 cores offered, 4 used, 2 running jobs, 8 units lent, 2.5 units/s, 75 % of CPU time useful"
	if got := s.summary(topLook{members, all}); got != want {
		t.Errorf("%q, expected %q", got, want)
	}
}

// TestTopUsed: a core works where its agent has borrowed units, and where none is left for it not.
func TestTopUsed(t *testing.T) {
	ids := map[string]jobs.AgentID{"a": {1}, "b": {2}, "none": {3}, "gone": {4}}
	members := []peer.Member{
		{ID: ids["a"], Role: peer.Agent, Cores: 2}, {ID: ids["b"], Role: peer.Agent, Cores: 8}, {ID: ids["none"], Role: peer.Agent},
	}
	job := func(lent uint64, agents ...string) jobStatus {
		s := jobStatus{State: stateRunning, Lent: lent}
		for _, name := range agents {
			id := ids[name]
			s.lessees += string(id[:])
		}
		return s
	}
	over := job(5, "b")
	over.State = stateDone
	for name, test := range map[string]struct {
		jobs []jobStatus
		want uint64
	}{
		"nothing runs":                                {nil, 0},
		"what is over uses nothing":                   {[]jobStatus{over}, 0},
		"fewer units than cores":                      {[]jobStatus{job(3, "b")}, 3},
		"more units than cores":                       {[]jobStatus{job(100, "a")}, 2},
		"two agents":                                  {[]jobStatus{job(100, "a", "b")}, 10},
		"two jobs on different agents":                {[]jobStatus{job(100, "a"), job(1, "b")}, 3},
		"two jobs share an agent":                     {[]jobStatus{job(100, "a"), job(100, "a")}, 2},
		"an agent that offers nothing now holds some": {[]jobStatus{job(4, "none")}, 0},
		"an agent that left":                          {[]jobStatus{job(4, "gone")}, 0},
	} {
		if got := (topLook{members, test.jobs}).used(); got != test.want {
			t.Errorf("%s: %d, expected %d", name, got, test.want)
		}
	}
}

// TestTopKeys: what keys choose, and what the line under the table says of it.
func TestTopKeys(t *testing.T) {
	now := time.Unix(1000, 0)
	all := []jobStatus{
		{ID: "aaaa", Name: "Tour", State: stateDone, Created: now.Add(-time.Hour), Failed: 1},
		{ID: "bbbb", Name: "queens", State: stateDone, Created: now},
		{ID: "cccc", Name: "map", State: stateRunning, Created: now.Add(-2 * time.Hour), Lent: 3},
	}
	const keys = "   s: sort, /: filter, q: end"
	for _, test := range []struct{ typed, jobs, foot string }{
		{"", "map queens Tour", "the busiest first" + keys},
		{"x\x1b[A\x1bOB\x1b[1;5C", "map queens Tour", "the busiest first" + keys},
		{"s", "queens Tour map", "the newest first" + keys},
		{"ss", "Tour map queens", "most failures first" + keys},
		{"sss", "Tour map queens", "by name" + keys},
		{"ssss", "map queens Tour", "the busiest first" + keys},
		{"/", "map queens Tour", "/_   Enter: see these, Esc: all"},
		{"/tou", "Tour", "/tou_   Enter: see these, Esc: all"},
		{"/qs", "", "/qs_   Enter: see these, Esc: all"},
		{"/q\u00e4\x7f\x7f", "map queens Tour", "/_   Enter: see these, Esc: all"},
		{"/\x7f\x08\xff\x01BBB\r", "queens", `the busiest first, with "BBB"   s: sort, /: filter, Esc: all, q: end`},
		{"/done\ns", "queens Tour", `the newest first, with "done"   s: sort, /: filter, Esc: all, q: end`},
		{"/done\r\x1b", "map queens Tour", "the busiest first" + keys},
		{"/done\x1b", "map queens Tour", "the busiest first" + keys},
	} {
		v := &topView{}
		v.keys(test.typed)
		var names []string
		for _, s := range v.of(all) {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != test.jobs || v.foot() != test.foot || v.quit {
			t.Errorf("%q: %s, %q, ends %t; expected %s, %q", test.typed, got, v.foot(), v.quit, test.jobs, test.foot)
		}
	}
	for typed, ends := range map[string]bool{"q": true, "\x03": true, "/q": false, "/q\x03": true, "/x\rq": true, "Q": false} {
		v := &topView{}
		if v.keys(typed); v.quit != ends {
			t.Errorf("%q: ends %t", typed, v.quit)
		}
	}
	v := &topView{}
	if v.keys("/" + strings.Repeat("x", 1000)); len(v.filter) > maxFilter {
		t.Errorf("a filter of %d bytes", len(v.filter))
	}
}
