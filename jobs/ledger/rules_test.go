package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

const u0 = uint64(firstUnit) // the unit that most of these tests are about

func TestFailuresAndRetries(t *testing.T) {
	fail := func(by string, attempt uint32) *record.Report { return reportOf(by, u0, attempt, "") }
	for _, c := range []struct {
		name    string
		retries uint32
		reports []*record.Report
		status  ledger.Status
		next    uint32
	}{
		{"nothing", 0, nil, ledger.Open, 0},
		{"no retries, one failure", 0, []*record.Report{fail("a", 0)}, ledger.Failed, 0},
		{"one retry, one failure", 1, []*record.Report{fail("a", 0)}, ledger.Open, 1},
		{"two agents fail in one attempt", 1, []*record.Report{fail("a", 0), fail("b", 0)}, ledger.Open, 1},
		{"one agent fails in two attempts", 1, []*record.Report{fail("a", 0), fail("a", 1)}, ledger.Failed, 0},
		{"attempts with a gap", 2, []*record.Report{fail("a", 0), fail("b", 7)}, ledger.Open, 1},
		{"the first attempt was another unit's", 2, []*record.Report{fail("a", 1)}, ledger.Open, 0},
		{"the highest attempt there is", 1, []*record.Report{fail("a", record.MaxAttempt)}, ledger.Open, 0},
		{"a success before", 0, []*record.Report{reportOf("a", u0, 0, "x"), fail("a", 1)}, ledger.Accepted, 0},
		{"a success after", 0, []*record.Report{fail("a", 0), reportOf("b", u0, 0, "x")}, ledger.Accepted, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ledger.New(terms(1, c.retries))
			for _, r := range c.reports {
				if err := by("", r).tell(l); err != nil {
					t.Fatal(err)
				}
			}
			wantStatus(t, l, u0, c.status)
			if got := l.Attempt(u0 / bundleSize); got != c.next {
				t.Errorf("next attempt %d, expected %d", got, c.next)
			}
		})
	}
}

func TestFailedUnitShowsItsLastFailure(t *testing.T) {
	l := told(t, terms(1, 1), []said{by("", reportOf("b", u0, 1, "")), by("", reportOf("a", u0, 0, ""))})
	u := wantStatus(t, l, u0, ledger.Failed)
	if u.Failure.Text != "b in attempt 1" || u.From.Author != agent("b") || u.From.Attempt != 1 || u.Attempts != 2 {
		t.Errorf("%+v", u)
	}
	if got := l.FailedBy(u0 / bundleSize); got != nil {
		t.Errorf("failures of a unit that is not open: %v", got)
	}
}

func TestFailedByNamesAgentsOfOpenUnitsOnce(t *testing.T) {
	l := told(t, terms(1, 5), []said{
		by("", reportOf("a", u0, 0, "")), by("", reportOf("b", u0, 0, "")), by("", reportOf("a", u0+1, 1, "")),
		by("", reportOf("c", u0+2, 0, "")), by("", reportOf("d", u0+2, 1, "x")),
	})
	want := []jobs.AgentID{agent("a"), agent("b")}
	slices.SortFunc(want, jobs.AgentID.Compare)
	if got := l.FailedBy(u0 / bundleSize); !slices.Equal(got, want) {
		t.Errorf("%v, expected %v", got, want)
	}
	if got := l.Attempt(u0 / bundleSize); got != 2 {
		t.Errorf("next attempt %d, expected 2: 0 and 1 were used by different units", got)
	}
}

func TestQuorumOfOneTakesTheLowestAndShowsTheRest(t *testing.T) {
	first, second := "p", "q"
	if agent(first).Compare(agent(second)) > 0 {
		first, second = second, first
	}
	for _, c := range []struct {
		name    string
		reports []*record.Report
		want    string
		differs bool
	}{
		{"one", []*record.Report{reportOf(second, u0, 1, "x")}, "x", false},
		{"the same twice", []*record.Report{reportOf(first, u0, 0, "x"), reportOf(second, u0, 0, "x")}, "x", false},
		{"the lower attempt", []*record.Report{reportOf(first, u0, 1, "x"), reportOf(second, u0, 0, "y")}, "y", true},
		{"the lower agent", []*record.Report{reportOf(second, u0, 0, "x"), reportOf(first, u0, 0, "y")}, "y", true},
		{"one agent with two", []*record.Report{reportOf(first, u0, 1, "x"), reportOf(first, u0, 0, "y")}, "y", true},
		{"other platforms", []*record.Report{on("b", reportOf(second, u0, 0, "x")), on("a", reportOf(first, u0, 1, "y"))}, "x", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ledger.New(terms(0, 0))
			for _, r := range c.reports {
				if err := by("", r).tell(l); err != nil {
					t.Fatal(err)
				}
			}
			u := wantStatus(t, l, u0, ledger.Accepted)
			if u.Outcome != outcome(c.want) || u.Differs != c.differs {
				t.Errorf("%+v", u)
			}
			if got := l.Counts(before); got.Accepted != 1 || (got.Differs == 1) != c.differs || got.UsefulCPU != time.Second {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestQuorumOfTwo(t *testing.T) {
	r := func(by, what string) *record.Report { return reportOf(by, u0, 0, what) }
	two := func(by string) []said {
		again := reportOf(by, u0, 1, "y")
		return []said{{report: r(by, "x"), owner: by}, {report: again, owner: by}}
	}
	for _, c := range []struct {
		name    string
		said    []said
		status  ledger.Status
		want    string
		differs bool
	}{
		{"one owner", []said{by("1", r("a", "x"))}, ledger.Open, "", false},
		{"one owner with two agents", []said{by("1", r("a", "x")), by("1", r("b", "x"))}, ledger.Open, "", false},
		{"one agent twice", []said{by("1", r("a", "x")), by("1", reportOf("a", u0, 1, "x"))}, ledger.Open, "", false},
		{"one agent with two owners", []said{by("1", r("a", "x")), by("2", reportOf("a", u0, 1, "x"))}, ledger.Open, "", false},
		{"two owners", []said{by("1", r("a", "x")), by("2", r("b", "x"))}, ledger.Accepted, "x", false},
		{"machines without owners", []said{by("", r("a", "x")), by("", r("b", "x"))}, ledger.Accepted, "x", false},
		{"two owners disagree", []said{by("1", r("a", "x")), by("2", r("b", "y"))}, ledger.Open, "", false},
		{"a third settles it", []said{by("1", r("a", "x")), by("2", r("b", "y")), by("3", r("c", "y"))}, ledger.Accepted, "y", true},
		{
			"two and two",
			[]said{by("1", r("a", "x")), by("2", r("b", "x")), by("3", r("c", "y")), by("4", r("d", "y"))},
			ledger.Conflict, "", false,
		},
		{
			"the same from two platforms",
			[]said{by("1", on("p", r("a", "x"))), by("2", on("q", r("b", "x")))},
			ledger.Accepted, "x", false,
		},
		{
			"platforms that differ",
			[]said{
				by("1", on("q", r("a", "x"))), by("2", on("q", r("b", "x"))),
				by("3", on("p", r("c", "y"))), by("4", on("p", r("d", "y"))),
			},
			ledger.Accepted, "y", true,
		},
		{
			"a platform with both",
			[]said{
				by("1", on("q", r("a", "x"))), by("2", on("p", r("b", "x"))),
				by("3", on("p", r("c", "y"))), by("4", on("o", r("d", "y"))),
			},
			ledger.Conflict, "", false,
		},
		{"an agent with two outcomes", append(two("a"), by("2", r("b", "x"))), ledger.Open, "", false},
		{"an agent with two outcomes beside two others", append(two("a"), by("2", r("b", "y")), by("3", r("c", "y"))), ledger.Accepted, "y", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := told(t, terms(2, 0), c.said)
			u := wantStatus(t, l, u0, c.status)
			if u.Differs != c.differs || (c.want != "" && u.Outcome != outcome(c.want)) {
				t.Errorf("%+v", u)
			}
		})
	}
}

func rule(sequence uint64, what string) said {
	return said{ruling: &record.Ruling{
		Job: theJob, Sequence: sequence, Units: []record.RuledUnit{{Unit: u0, Outcome: outcome(what)}},
	}}
}

func TestRulingsSettle(t *testing.T) {
	x, y := by("1", reportOf("a", u0, 0, "x")), by("2", reportOf("b", u0, 1, "y"))
	failed := by("3", reportOf("c", u0, 2, ""))
	a := agent("a")
	for _, c := range []struct {
		name   string
		quorum uint32
		said   []said
		status ledger.Status
		want   string
		ruled  bool
	}{
		{"over the lowest", 1, []said{x, y, rule(0, "y")}, ledger.Accepted, "y", true},
		{"of the lowest", 1, []said{x, y, rule(0, "x")}, ledger.Accepted, "x", true},
		{"the higher sequence", 1, []said{x, y, rule(2, "y"), rule(1, "x")}, ledger.Accepted, "y", true},
		{"an outcome that nobody has", 1, []said{x, y, rule(1, "z")}, ledger.Accepted, "x", false},
		{"a higher one that nobody has", 1, []said{x, y, rule(1, "y"), rule(2, "z")}, ledger.Accepted, "x", false},
		{"before any report", 1, []said{rule(1, "x")}, ledger.Open, "", false},
		{"below the quorum", 2, []said{x, rule(1, "x")}, ledger.Accepted, "x", true},
		{"over failures", 3, []said{x, failed, rule(1, "x")}, ledger.Accepted, "x", true},
		{"what a failed unit wrote", 2, []said{failed, rule(1, "")}, ledger.Failed, "", false},
		{"of a revoked agent", 1, []said{x, y, rule(1, "x"), {revoke: &a}}, ledger.Accepted, "y", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := told(t, terms(c.quorum, 0), c.said)
			u := wantStatus(t, l, u0, c.status)
			if (c.want != "" && u.Outcome != outcome(c.want)) || u.Ruled != c.ruled {
				t.Errorf("%+v", u)
			}
		})
	}
}

func TestRulingSettlesAConflict(t *testing.T) {
	all := []said{}
	for i, what := range []string{"x", "x", "y", "y"} {
		all = append(all, by("", reportOf(fmt.Sprint(i), u0, 0, what)))
	}
	l := told(t, terms(2, 0), all)
	wantStatus(t, l, u0, ledger.Conflict)
	if c := l.Counts(before); c.Conflict != 1 || c.Differs != 0 || c.UsefulCPU != 0 || c.CPU != 4*time.Second {
		t.Errorf("%+v", c)
	}
	if err := rule(1, "y").tell(l); err != nil {
		t.Fatal(err)
	}
	if u := wantStatus(t, l, u0, ledger.Accepted); u.Outcome != outcome("y") || !u.Differs {
		t.Errorf("%+v", u)
	}
}

func TestRulingOfAnotherJobIsNotLookedAt(t *testing.T) {
	l := told(t, terms(1, 0), []said{by("", reportOf("a", u0, 0, "x")), by("", reportOf("b", u0, 1, "y"))})
	r := rule(1, "y").ruling
	r.Job[0]++
	if l.AddRuling(jobs.DigestOf(r.Encode()), r) || l.Unit(u0, before).Ruled {
		t.Error("it counts")
	}
}

func TestRevocationReopens(t *testing.T) {
	l := told(t, terms(1, 1), []said{
		by("", reportOf("a", u0, 0, "x")), by("", reportOf("a", u0+1, 0, "")), by("", reportOf("b", u0+1, 1, "")),
	})
	wantStatus(t, l, u0, ledger.Accepted)
	wantStatus(t, l, u0+1, ledger.Failed)
	l.Revoke(agent("a"))
	wantStatus(t, l, u0, ledger.Open)
	wantStatus(t, l, u0+1, ledger.Open)
	if got := l.OpenUnits(u0/bundleSize, before); len(got) != bundleSize {
		t.Errorf("open: %v", got)
	}
	if got := l.FailedBy(u0 / bundleSize); len(got) != 1 || got[0] != agent("b") {
		t.Errorf("failed by %v", got)
	}
	if c := l.Counts(before); c.Open != nUnits || c.UsefulCPU != 0 || c.CPU != 3*time.Second {
		t.Errorf("%+v", c)
	}
}

func TestPoolsOfOneAndTwoAgents(t *testing.T) {
	for _, c := range []struct {
		name   string
		agents int
		quorum uint32
		want   uint64
	}{
		{"one agent", 1, 1, nUnits},
		{"two agents", 2, 1, nUnits},
		{"one agent, quorum of two", 1, 2, 0},
		{"two agents, quorum of two", 2, 2, nUnits},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ledger.New(terms(c.quorum, 0))
			for unit := uint64(firstUnit); unit < firstUnit+nUnits; unit++ {
				for i := range c.agents {
					if err := by("", reportOf(fmt.Sprint(i), unit, 0, "x")).tell(l); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := l.Counts(before); got.Accepted != c.want || got.Open != nUnits-c.want || got.Differs != 0 {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestWhatEndsAJob(t *testing.T) {
	x := by("", reportOf("a", u0, 0, "x"))
	for _, c := range []struct {
		name string
		said []said
		want ledger.Status
	}{
		{"cancel", []said{x, {cancel: true}}, ledger.Dead},
		{"seal", []said{x, {seal: true}}, ledger.Sealed},
		{"cancel of a sealed job", []said{x, {seal: true}, {cancel: true}}, ledger.Dead},
		{"its submitter revoked", []said{x, {revoke: &submitter}}, ledger.Dead},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := told(t, terms(1, 0), c.said)
			if u := wantStatus(t, l, u0, c.want); u.Outcome != outcome("x") {
				t.Errorf("its outcome is forgotten: %+v", u)
			}
			wantStatus(t, l, u0+1, c.want)
			if got := l.Counts(before); got.Sealed+got.Dead != nUnits || got.Open+got.Accepted != 0 || got.UsefulCPU != time.Second {
				t.Errorf("%+v", got)
			}
			if b, ok := l.NextOpen(0, before); ok || l.OpenUnits(u0/bundleSize, before) != nil {
				t.Errorf("bundle %d is open", b)
			}
		})
	}
}

func TestReportsThatDoNotBelongHere(t *testing.T) {
	for name, spoil := range map[string]func(*record.Report){
		"another job":       func(r *record.Report) { r.Job[0]++ },
		"another shard":     func(r *record.Report) { r.Shard = 0 },
		"a unit too low":    func(r *record.Report) { r.Bundles[0].Bundle, r.Bundles[0].Units[0].Unit = 3, firstUnit-1 },
		"a unit too high":   func(r *record.Report) { r.Bundles[0].Bundle, r.Bundles[0].Units[0].Unit = 7, firstUnit+nUnits },
		"a unit far away":   func(r *record.Report) { r.Bundles[0].Units[0].Unit = 1<<64 - 1 },
		"a bundle far away": func(r *record.Report) { r.Bundles[0].Bundle = 1<<64 - 1 },
		"another bundle":    func(r *record.Report) { r.Bundles[0].Bundle++ },
		"one bad among good": func(r *record.Report) {
			r.Bundles = append(r.Bundles, record.BundleReport{Bundle: 1, Units: []record.UnitReport{{Unit: 3}}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := ledger.New(terms(1, 0))
			r := reportOf("a", u0, 0, "x")
			spoil(r)
			if fresh, err := l.AddReport(reportID(r), r, ""); fresh || jobs.KindOf(err) != jobs.Invalid {
				t.Fatalf("%v, %v", fresh, err)
			}
			if c := l.Counts(before); c != (ledger.Counts{Open: nUnits}) {
				t.Errorf("%+v", c)
			}
		})
	}
}

func TestUnitsBeyondTheShard(t *testing.T) {
	l := ledger.New(terms(1, 0))
	for _, unit := range []uint64{0, firstUnit - 1, firstUnit + nUnits, 1<<64 - 1} {
		if got := l.Unit(unit, before); got != (ledger.Unit{}) {
			t.Errorf("unit %d: %+v", unit, got)
		}
	}
	for _, bundle := range []uint64{0, firstUnit/bundleSize - 1, firstUnit/bundleSize + nBundles, 1<<64 - 1} {
		if l.OpenUnits(bundle, before) != nil || l.FailedBy(bundle) != nil || l.Attempt(bundle) != 0 {
			t.Errorf("bundle %d has units", bundle)
		}
	}
	if b, ok := l.NextOpen(1<<64-1, before); ok {
		t.Errorf("next open bundle %d", b)
	}
}

// TestTries: every run of a unit that somebody reported, in the order of attempts, but for those of revoked agents.
func TestTries(t *testing.T) {
	l := ledger.New(terms(1, 3))
	revoked := agent("revoked")
	for _, s := range []said{
		by("", reportOf("b", u0, 1, "x")),
		by("", reportOf("a", u0, 0, "")),
		by("", reportOf("revoked", u0, 2, "y")),
		by("", reportOf("a", u0+1, 0, "z")),
		{revoke: &revoked},
		{seal: true},
	} {
		if err := s.tell(l); err != nil {
			t.Fatal(err)
		}
	}
	tries := l.Tries(u0)
	if len(tries) != 2 {
		t.Fatalf("%d tries, expected 2: %+v", len(tries), tries)
	}
	if first := tries[0]; !first.Failure.Failed() || first.From.Author != agent("a") || first.From.Attempt != 0 {
		t.Errorf("first %+v", first)
	}
	if second := tries[1]; second.Failure.Failed() || second.Outcome != outcome("x") || second.From.Author != agent("b") || second.From.Attempt != 1 {
		t.Errorf("second %+v", second)
	}
	if n := len(l.Tries(firstUnit + nUnits)); n != 0 {
		t.Errorf("a unit of another shard has %d tries", n)
	}
}
