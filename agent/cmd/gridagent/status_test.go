package main

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"idlegrid/agent/program"
	gridv1 "idlegrid/proto/grid/v1"
)

// reply is what an agent with some work says.
func reply(now time.Time) *gridv1.StatusReply {
	id := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	member := func(b byte, c gridv1.Class, reachable, draining bool) *gridv1.Member {
		return &gridv1.Member{
			Id: id(b), Address: "10.0.0.1:7745", Role: gridv1.Role_ROLE_AGENT, Class: c, Reachable: reachable, Draining: draining, Cores: 2,
		}
	}
	self := member(0xaa, gridv1.Class_CLASS_ALWAYS_ON, true, false)
	at := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	return &gridv1.StatusReply{
		Self: self, Root: id(0xcc), StartedMs: at(-3 * time.Hour), Build: "v1.2.3",
		Members: []*gridv1.Member{
			self, member(0xbb, gridv1.Class_CLASS_OFFICE, false, true),
			{Id: id(0xcc), Address: "10.0.0.9:7745", Role: gridv1.Role_ROLE_COORDINATOR},
		},
		Clock:             &gridv1.ClockStatus{AheadMs: -400_000, Compared: 3, Off: true},
		Disk:              &gridv1.DiskStatus{Blobs: 12, Bytes: 3 << 19, Quota: 20 << 30},
		CertificateEndsMs: at(10 * 24 * time.Hour), CertificateRenewsMs: at(3 * 24 * time.Hour), LiveJobs: 1,
		Agent: &gridv1.AgentStatus{
			Slots: 3,
			Running: []*gridv1.RunningUnit{{
				Job: id(1), Name: "tour", Unit: 7, Submitter: id(2), Owner: "ali\x1bce", SinceMs: at(-75 * time.Second),
				Done: proto.Float64(0.42), SavedMs: at(-15 * time.Second), SavedBytes: 3 << 20,
			}},
			Queued: 1, Held: 2, ReportsWaiting: 2, Idle: []string{"no open units in any live job"},
			Stewardships: []*gridv1.Stewardship{{Job: id(1), Name: "tour", Rank: 1, Open: 100, Lent: 20, Lessees: 3}},
		},
	}
}

func TestSheet(t *testing.T) {
	now := time.Date(2026, 11, 25, 22, 0, 0, 0, time.Local)
	var out bytes.Buffer
	s := statusOf(reply(now))
	if err := program.Show(&out, program.FormatWide, s, s.sheet(now, true)); err != nil {
		t.Fatal(err)
	}
	want := `agent          aaaaaaaa  always-on
address        10.0.0.1:7745
running since  2026-11-25 19:00:00, for 3h00m
version        v1.2.3, protocol 1
grid           cccccccccccc
state          runs 1 unit in 3 slots; 1 unit waits for a slot; 2 reports wait for stewards
pool           2 agents (1 always-on, 1 office), 1 reachable, 1 draining; 1 coordinator
reachable      yes
blobs          12, 1.5 MiB of 20 GiB
certificate    ends 2026-12-05 22:00:00, renews itself from 2026-11-28 22:00:00 on
clock          off: 6m40s behind the median of 3 peers; nothing is expired or deleted here until it is right

WORK  UNIT  FOR     SINCE  NOW   DONE  SAVED           JOB
tour  7     ali?ce  1m15s  runs  42 %  15s ago, 3 MiB  010101010101

STEWARDS  SHARD  RANK  OPEN UNITS  LENT BUNDLES  TO AGENTS  JOB
tour      0      1     100         20            3          010101010101

2 slots are free because
  no open units in any live job

PEER      CLASS             ADDRESS        STATE      CORES
aaaaaaaa  always-on (this)  10.0.0.1:7745  reachable  2
bbbbbbbb  office            10.0.0.1:7745  draining   2
cccccccc  coordinator       10.0.0.9:7745  -          0
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nexpected\n%s", got, want)
	}
}

func TestState(t *testing.T) {
	unit, frozen := &gridv1.RunningUnit{}, &gridv1.RunningUnit{Frozen: true}
	for want, a := range map[string]*gridv1.AgentStatus{
		"runs no units":                          {},
		"idle, 1 slot":                           {Slots: 1},
		"runs 1 unit":                            {Slots: 1, Running: []*gridv1.RunningUnit{unit}},
		"runs 2 units in 3 slots":                {Slots: 3, Running: []*gridv1.RunningUnit{unit, unit}},
		"idle, 2 slots; 2 units wait for a slot": {Slots: 2, Queued: 2},
		"runs 0 units; 2 stand still":            {Slots: 3, Running: []*gridv1.RunningUnit{frozen, frozen}},
		"runs 1 unit; 1 stands still":            {Slots: 2, Running: []*gridv1.RunningUnit{unit, frozen}},
	} {
		if got := statusOf(&gridv1.StatusReply{Agent: a}).state(); got != want {
			t.Errorf("got %q, expected %q", got, want)
		}
	}
}
