package main

import (
	"bytes"
	"testing"
	"time"

	"idlegrid/agent/program"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestSheet(t *testing.T) {
	now := time.Date(2026, 11, 25, 22, 0, 0, 0, time.Local)
	id := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	at := func(d time.Duration) int64 { return now.Add(d).UnixMilli() }
	const day = 24 * time.Hour
	self := &gridv1.Member{Id: id(0xcc), Address: "10.0.0.9:7745", Role: gridv1.Role_ROLE_COORDINATOR}
	s := statusOf(&gridv1.StatusReply{
		Self: self, Root: id(0xee), StartedMs: at(-50 * time.Hour), Build: "v1.2.3",
		Members: []*gridv1.Member{
			{Id: id(0xaa), Role: gridv1.Role_ROLE_AGENT, Class: gridv1.Class_CLASS_ALWAYS_ON, Address: "10.0.0.1:7745", Reachable: true, Cores: 4},
			{Id: id(0xbb), Role: gridv1.Role_ROLE_AGENT, Class: gridv1.Class_CLASS_LAPTOP, Address: "10.0.0.2:7745", Reachable: true, Cores: 2},
			self,
		},
		Clock: &gridv1.ClockStatus{AheadMs: 20, Compared: 2}, Disk: &gridv1.DiskStatus{Blobs: 3, Bytes: 5 << 20, Quota: 100 << 30},
		CertificateEndsMs: at(10 * day), CertificateRenewsMs: at(-time.Hour), LiveJobs: 4,
		Coordinator: &gridv1.CoordinatorStatus{
			Jobs: []*gridv1.SeededJob{
				{Job: id(1), Name: "tour", Submitter: id(2), Owner: "alice", State: "running", Units: 100, Accepted: 40, Failed: 1, Seeded: 3},
				{Job: id(3), Name: "new", Submitter: id(4), State: "unknown", Units: 5, BlobsWaiting: 2, Why: "no holders"},
				{Job: id(5), Name: "old", Submitter: id(4), State: "cancelled", Units: 5},
			},
			Owners:  []*gridv1.JobOwner{{Submitter: id(2), Owner: "alice", LiveJobs: 1}, {Submitter: id(4), LiveJobs: 3}},
			Metrics: "127.0.0.1:9745", Page: "https://10.0.0.9:7746", IssuerEndsMs: at(1000 * day), Problems: []string{"job new cannot be handed over: no holders"},
		},
	})
	var out bytes.Buffer
	if err := program.Show(&out, program.FormatTable, s, s.sheet(now, false)); err != nil {
		t.Fatal(err)
	}
	want := `coordinator    cccccccc
address        10.0.0.9:7745
running since  2026-11-23 20:00:00, for 2d02h
version        v1.2.3, protocol 1
grid           eeeeeeeeeeee
pool           2 agents (1 always-on, 1 laptop), 2 reachable; 1 coordinator
blobs          3, 5 MiB of 100 GiB
certificate    ends 2026-12-05 22:00:00; not renewed yet, tried since 2026-11-25 21:00:00
clock          in step with the median of 2 peers
issuing key    ends 2029-08-21
cores offered  6
metrics        http://127.0.0.1:9745/metrics
page           https://10.0.0.9:7746
live jobs      4 of 2 submitters

JOB   FOR       STATE      DONE    FAILED  HANDED OVER                ID
tour  alice     running    40/100  1       to 3 agents                010101010101
new   04040404  unknown    -/5     0       not yet, 2 blobs to place  030303030303
old   04040404  cancelled  -/5     0       -                          050505050505
… and 1 more

problems
  job new cannot be handed over: no holders
`
	if got := out.String(); got != want {
		t.Errorf("got\n%s\nexpected\n%s", got, want)
	}
}
