package main

import (
	"bytes"
	"testing"
	"time"

	"idlegrid/agent/program"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestLookSheet: what people see who reach the agent over its socket only.
func TestLookSheet(t *testing.T) {
	now := time.Date(2026, 11, 26, 14, 30, 0, 0, time.Local)
	buckets := func(counts ...uint64) []*gridv1.OwnerBucket {
		return []*gridv1.OwnerBucket{{MostUs: 1000, Count: counts[0]}, {MostUs: 20_000, Count: counts[1]}, {Count: counts[2]}}
	}
	r := &gridv1.LookReply{
		Grid: "testgrid", Class: "office", State: "waiting", Why: "Paused: keyboard used 40 s ago; work waits 5 min from then",
		SinceMs: now.Add(-40 * time.Second).UnixMilli(), UntilMs: now.Add(260 * time.Second).UnixMilli(), OfCores: 8,
		Rules: []*gridv1.OwnerRule{
			{Name: "no pause", Holds: true, Text: "the owner has not paused"},
			{Name: "away", Text: "keyboard used 40 s ago; work waits 5 min from then"},
		},
		Running: []*gridv1.RunningUnit{{Job: make([]byte, 32), Name: "tour", Unit: 7, Submitter: make([]byte, 32), Owner: "anna", SinceMs: now.Add(-time.Hour).UnixMilli(), Frozen: true}},
		Idle:    []string{"no live job is known here"}, TodayMs: 3_720_000, MonthMs: 90_000_000,
		Detect:       &gridv1.OwnerTimes{Count: 3, P50Us: 1000, P99Us: 1000, MaxUs: 900, Buckets: buckets(3, 0, 0)},
		Stop:         &gridv1.OwnerTimes{Count: 4, P50Us: 1000, P99Us: 20_000, MaxUs: 12_000, Buckets: buckets(3, 1, 0)},
		Sum:          &gridv1.OwnerTimes{Count: 3, P50Us: 1000, P99Us: 12_000, MaxUs: 12_000, Buckets: buckets(2, 1, 0)},
		Disturbances: []*gridv1.OwnerDisturbance{{Kind: "late", Count: 1}, {Kind: "swapped", Unknown: true}, {Kind: "stalled", Count: 2}},
		Yields:       "cgroup2 freeze, cpu.idle", Metrics: "10.0.0.7:9746",
	}
	var out bytes.Buffer
	l := lookOf(r)
	if err := program.Show(&out, program.FormatWide, l, l.sheet(now, true)); err != nil {
		t.Fatal(err)
	}
	const want = `work       Paused: keyboard used 40 s ago; work waits 5 min from then
since      2026-11-26 14:29:20, for 40s
until      2026-11-26 14:34:20, for 4m20s more
cores      0 of 8 for work
harvest    1h02m of CPU time today, 1d01h this month
reaction   work stopped within 12 ms of an input, measured 3 times (to notice it 1 ms, to stop 20 ms; longest 12 ms)
disturbed  work stopped later than 250 ms after an input (1 time); others waited for the disk while the grid wrote (2 times); not known here: whether others waited for memory while work was here
yields by  cgroup2 freeze, cpu.idle
metrics    http://10.0.0.7:9746/metrics tells how often work made way for somebody here, up to yesterday, to whoever can reach it
agent      office
grid       testgrid

WORK  UNIT  FOR   SINCE  NOW           DONE  SAVED  JOB
tour  7     anna  1h00m  stands still  -     -      000000000000

slots are free because
  no live job is known here

RULE      HOLDS  BECAUSE
no pause  yes    the owner has not paused
away      no     keyboard used 40 s ago; work waits 5 min from then

WITHIN  DETECT  STOP  SUM
1 ms    3       3     2
20 ms   0       1     1
longer  0       0     0
`
	if out.String() != want {
		t.Errorf("got\n%s\nexpected\n%s", &out, want)
	}
}

func TestReactionInWords(t *testing.T) {
	for want, l := range map[string]look{
		"not measured yet: no input came while work ran":                                           {},
		"not measured yet from an input; work stopped within 20 ms of a decision, measured 1 time": {Stop: times{Count: 1, P99: 20}},
		"work stopped within 9.5 ms of an input, 99 % of 200 times (to notice it 1 ms, to stop 2 ms; longest 2.05 s)": {
			Stop: times{Count: 3, P99: 2}, Detect: times{Count: 2, P99: 1}, Sum: times{Count: 200, P99: 9.5, Max: 2049.6},
		},
	} {
		if got := l.reaction(); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
	none := uint64(0)
	for want, counts := range map[string]map[string]*uint64{
		"never, as far as this agent can tell": {"late": &none, "swapped": &none, "stalled": &none},
		"never, as far as this agent can tell; not known here: whether others waited for memory while work was here, " +
			"or others waited for the disk while the grid wrote": {"late": &none, "swapped": nil, "stalled": nil},
	} {
		if got := (&look{Disturbed: counts}).disturbed(); got != want {
			t.Errorf("%q, expected %q", got, want)
		}
	}
}
