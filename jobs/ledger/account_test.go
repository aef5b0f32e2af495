package ledger_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// account walks over all units and reports.
func (n *naive) account(l *ledger.Ledger) []ledger.HourSpend {
	hours := map[uint32]*ledger.HourSpend{}
	add := func(hour uint32, use ledger.Use, cpu time.Duration, runs uint64) {
		hour = min(max(hour, record.HourOf(created)-1), record.HourOf(expires)+1)
		if hours[hour] == nil {
			hours[hour] = &ledger.HourSpend{Hour: hour}
		}
		hours[hour].CPU[use] += uint64(cpu.Microseconds())
		hours[hour].Runs[use] += runs
	}
	reports := n.reports()
	for _, r := range reports {
		if !n.revoked(r.Author) {
			add(r.Hour, ledger.LostCPU, r.Lost, 0)
			add(r.Hour, ledger.OverheadCPU, r.Overhead, 0)
		}
	}
	for unit := uint64(firstUnit); unit < firstUnit+nUnits; unit++ {
		n.accountUnit(n.ofUnit(l, unit), unit, func(id jobs.Digest, use ledger.Use, cpu time.Duration) {
			runs := uint64(1)
			if use == ledger.LostCPU {
				runs = 0
			}
			add(reports[id].Hour, use, cpu, runs)
		})
	}
	var out []ledger.HourSpend
	for _, h := range hours {
		if h.Spend != (ledger.Spend{}) {
			out = append(out, *h)
		}
	}
	slices.SortFunc(out, func(a, b ledger.HourSpend) int { return int(a.Hour) - int(b.Hour) })
	return out
}

// ofUnit returns what a ledger shows of a unit, with the status that it has by records alone.
func (n *naive) ofUnit(l *ledger.Ledger, unit uint64) ledger.Unit {
	u := l.Unit(unit, before)
	u.Status, _ = n.ofRecords(unit)
	return u
}

// ranUnit is a run as the naive reading of the rules sees it: from where in its unit, whose that was and so on, how long
// it took, and up to where others may have gone on from it.
type ranUnit struct {
	attempt       uint32
	author        jobs.AgentID
	id            jobs.Digest
	use           ledger.Use
	lineage       record.Lineage
	took, reached time.Duration
}

// ran returns all runs of a unit, those with a result first, each kind by (attempt, author, report).
func (n *naive) ran(u ledger.Unit, unit uint64) []ranUnit {
	var out, lost []ranUnit
	for _, c := range n.claims(unit) {
		r := ranUnit{c.attempt, c.author, c.id, ledger.RepeatedCPU, c.u.Lineage, c.u.Times.CPU, c.u.Lineage.Before() + c.u.Times.CPU}
		switch {
		case c.u.Failure.Failed():
			r.use = ledger.FailedCPU
		case !u.Outcome.IsZero() && !u.Failure.Failed() && c.id == u.From.ID && c.attempt == u.From.Attempt:
			r.use = ledger.UsefulCPU
		}
		out = append(out, r)
	}
	for id, r := range n.reports() {
		for _, run := range r.LostRuns {
			if run.Unit == unit && !n.revoked(r.Author) {
				lost = append(lost, ranUnit{run.Attempt, r.Author, id, ledger.LostCPU, run.Lineage, run.CPU, run.Kept})
			}
		}
	}
	slices.SortFunc(lost, func(a, b ranUnit) int {
		return cmp.Or(cmp.Compare(a.attempt, b.attempt), a.author.Compare(b.author), a.id.Compare(b.id))
	})
	return append(out, lost...)
}

// accountUnit tells of each run of a unit what it cost, and for what.
func (n *naive) accountUnit(u ledger.Unit, unit uint64, add func(jobs.Digest, ledger.Use, time.Duration)) {
	all := n.ran(u, unit)
	for attempt := range uint32(5) {
		runs := slices.DeleteFunc(slices.Clone(all), func(r ranUnit) bool { return r.attempt != attempt })
		// reported returns which run has the i-th place of a lineage; -1: one that never reported.
		reported := func(l record.Lineage, i int) int {
			return slices.IndexFunc(runs, func(p ranUnit) bool {
				return p.author == l[i].From && p.lineage.Before() == l[i+1:].Before() && l[i].Before <= p.reached
			})
		}
		left := map[int]time.Duration{}       // what runs left of their time to the accepted one
		counted := map[string]time.Duration{} // up to where the time of runs counts that never reported
		name := func(l record.Lineage, i int) string { return fmt.Sprint(l[i].From, l[i+1:].Before()) }
		for _, r := range runs {
			for i, o := range r.lineage {
				if r.use != ledger.UsefulCPU {
					break
				}
				if p := reported(r.lineage, i); p >= 0 {
					left[p] = o.Before - r.lineage[i+1:].Before()
				} else {
					counted[name(r.lineage, i)] = o.Before
				}
			}
		}
		for i, r := range runs {
			cpu := max(0, r.took-left[i])
			switch {
			case u.Status == ledger.Open && !slices.ContainsFunc(runs, func(r ranUnit) bool { return r.use != ledger.LostCPU }):
				cpu = max(0, r.took-max(0, r.reached-r.lineage.Before()))
			case r.use == ledger.UsefulCPU:
				cpu += r.lineage.Before()
			default:
				for i, o := range r.lineage {
					had := max(counted[name(r.lineage, i)], r.lineage[i+1:].Before())
					if o.Before > had && reported(r.lineage, i) < 0 {
						cpu += o.Before - had
						counted[name(r.lineage, i)] = o.Before
					}
				}
			}
			add(r.id, r.use, cpu)
		}
	}
}

func TestAccountIsWhatTheRulesSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		l, n := told(t, terms, all), newNaive(terms, all)
		if got, want := l.Account(), n.account(l); !slices.Equal(got, want) {
			t.Fatalf("account %+v, expected %+v", got, want)
		}
	})
}

// spent returns the sum of an account, in seconds by use.
func spent(l *ledger.Ledger) (out [ledger.Uses]float64) {
	for _, h := range l.Account() {
		for u, us := range h.CPU {
			out[u] += float64(us) / 1e6
		}
	}
	return out
}

// TestAccountCountsSharedTimeOnce: runs of one unit that went on from each other's checkpoints. The first is the accepted
// one, unless it has no result.
func TestAccountCountsSharedTimeOnce(t *testing.T) {
	// By whom, to where it came, by seconds of the unit, its newest checkpoint where it has no result, and from where it
	// went on: "b6 c2" is b's checkpoint at 6, and c's at 2, from which b had gone on.
	type run struct {
		by       string
		to, kept int
		from     string
	}
	for _, c := range []struct {
		name                   string
		runs                   []run
		useful, repeated, lost float64
	}{
		{"one run", []run{{"a", 10, 0, ""}}, 10, 0, 0},
		{"one that went on from a killed one", []run{{"a", 10, 0, "k6"}}, 10, 0, 0},
		{"two from the beginning", []run{{"a", 10, 0, ""}, {"b", 10, 0, ""}}, 10, 10, 0},
		{"the other went on from this one", []run{{"a", 10, 0, ""}, {"b", 10, 0, "a6"}}, 10, 4, 0},
		{"this one went on from the other", []run{{"a", 10, 0, "b6"}, {"b", 10, 0, ""}}, 10, 4, 0},
		{"both went on from a killed one", []run{{"a", 10, 0, "k6"}, {"b", 10, 0, "k6"}}, 10, 4, 0},
		{"the other from a later checkpoint of it", []run{{"a", 10, 0, "k6"}, {"b", 10, 0, "k8"}}, 10, 4, 0},
		{"the other from an earlier one", []run{{"a", 10, 0, "k8"}, {"b", 10, 0, "k6"}}, 10, 4, 0},
		{"only the other went on from a killed one", []run{{"a", 10, 0, ""}, {"b", 10, 0, "k6"}}, 10, 10, 0},
		{"each from another killed one", []run{{"a", 10, 0, "k6"}, {"b", 10, 0, "l7"}}, 10, 10, 0},
		{"from two killed runs of one agent", []run{{"a", 10, 0, "k6"}, {"b", 10, 0, "k8 c2"}, {"c", 3, 2, ""}}, 10, 8, 3},
		{"three in a row", []run{{"a", 10, 0, "b8 c6"}, {"b", 10, 0, "c6"}, {"c", 10, 0, ""}}, 10, 6, 0},
		{"two went on from one of two", []run{{"a", 10, 0, "b6"}, {"b", 10, 0, ""}, {"c", 10, 0, ""}}, 10, 14, 0},
		{"by one agent twice", []run{{"a", 10, 0, "a6"}, {"a", 8, 6, ""}}, 10, 0, 2},
		{"a lost run, and nobody has gone on yet", []run{{"a", 8, 6, ""}}, 0, 0, 2},
		{"two in a row, and nobody has", []run{{"a", 8, 6, ""}, {"b", 9, 8, "a6"}}, 0, 0, 3},
		{"one went on from a lost one", []run{{"a", 10, 0, "b6"}, {"b", 8, 6, ""}}, 10, 0, 2},
		{"from an earlier checkpoint of it", []run{{"a", 10, 0, "b4"}, {"b", 8, 6, ""}}, 10, 0, 4},
		{"one began anew", []run{{"a", 10, 0, ""}, {"b", 8, 6, ""}}, 10, 0, 8},
		{"lost ones in a row", []run{{"a", 10, 0, "c8 b6"}, {"b", 7, 6, ""}, {"c", 9, 8, "b6"}}, 10, 0, 2},
		{"from one of two lost", []run{{"a", 10, 0, "b6"}, {"b", 8, 6, ""}, {"c", 7, 6, ""}}, 10, 0, 9},
		{"lost after it had gone on from the one that ended", []run{{"a", 10, 0, ""}, {"b", 9, 8, "a6"}}, 10, 0, 3},
		{"a lost one that went on from a killed one", []run{{"a", 10, 0, "b8 k4"}, {"b", 9, 8, "k4"}}, 10, 0, 1},
		{"a killed one that went on from a lost one", []run{{"a", 10, 0, "k8 b6"}, {"b", 7, 6, ""}}, 10, 0, 1},
		{"two that did, of a lost one each", []run{{"a", 10, 0, "k8 b6"}, {"b", 7, 6, ""}, {"d", 10, 0, "l8 c5"}, {"c", 6, 5, ""}}, 10, 5, 7},
		{"an agent that went on from itself, and was killed then", []run{{"a", 10, 0, "b8 b6"}, {"b", 7, 6, ""}}, 10, 0, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ledger.New(terms(1, 0))
			for i, run := range c.runs {
				r := reportOf(run.by, firstUnit, 0, "x")
				r.Counter = uint64(i)
				u := &r.Bundles[0].Units[0]
				for from := range strings.FieldsSeq(run.from) {
					u.Lineage = append(u.Lineage, record.Origin{From: agent(from[:1]), Before: time.Duration(from[1]-'0') * time.Second})
				}
				if u.Times.CPU = time.Duration(run.to)*time.Second - u.Lineage.Before(); i > 0 {
					u.Outcome = outcome("y")
				}
				if run.kept > 0 {
					r.LostRuns = []record.LostRun{{Unit: firstUnit, CPU: u.Times.CPU, Lineage: u.Lineage, Kept: time.Duration(run.kept) * time.Second}}
					r.Bundles, r.Pack = nil, jobs.Blob{}
				}
				if err := by("", r).tell(l); err != nil {
					t.Fatal(err)
				}
			}
			ruling := &record.Ruling{Job: theJob, Units: []record.RuledUnit{{Unit: firstUnit, Outcome: outcome("x")}}}
			if err := (said{ruling: ruling}).tell(l); err != nil {
				t.Fatal(err)
			}
			want := [ledger.Uses]float64{ledger.UsefulCPU: c.useful, ledger.RepeatedCPU: c.repeated, ledger.LostCPU: c.lost}
			if got := spent(l); got != want {
				t.Errorf("spent %v, expected %v", got, want)
			}
		})
	}
}

// TestP11ForgedLineage: a liar that writes many runs of a unit, each with the longest lineage, makes nobody look through
// all of them for each.
func TestP11ForgedLineage(t *testing.T) {
	l := ledger.New(terms(1, 0))
	const runs = 2000
	for i := range runs {
		r := reportOf("liar", firstUnit, 0, "x")
		r.Counter = uint64(i)
		u := &r.Bundles[0].Units[0]
		for n := range record.MaxLineage {
			u.Lineage = u.Lineage.After(agent("liar"), time.Duration(n+1)*time.Second)
		}
		if err := by("", r).tell(l); err != nil {
			t.Fatal(err)
		}
	}
	if got := spent(l); got[ledger.UsefulCPU]+got[ledger.RepeatedCPU] != runs {
		t.Errorf("spent %v", got)
	}
}

// TestAsides: what an author said beside results.
func TestAsides(t *testing.T) {
	l := ledger.New(terms(1, 0))
	left := func(by string, n uint64) *record.Report {
		r := reportOf(by, firstUnit, 0, "x")
		r.Counter, r.Bundles, r.Pack, r.Overhead = n, nil, jobs.Blob{}, time.Second
		return r
	}
	mixed := reportOf("a", firstUnit, 0, "x")
	mixed.LostRuns = []record.LostRun{{Unit: firstUnit}, {Unit: firstUnit + 1}}
	for _, r := range []*record.Report{left("a", 1), left("a", 2), left("b", 1), mixed, reportOf("a", firstUnit+2, 0, "x")} {
		if err := by("", r).tell(l); err != nil {
			t.Fatal(err)
		}
	}
	if a, b, c := l.Asides(agent("a")), l.Asides(agent("b")), l.Asides(agent("c")); a != 4 || b != 1 || c != 0 {
		t.Errorf("a has said %d, b %d, c %d", a, b, c)
	}
}

// TestLostRunsAreOfTheShard: a report about a run of another shard's unit changes nothing.
func TestLostRunsAreOfTheShard(t *testing.T) {
	l := ledger.New(terms(1, 0))
	r := reportOf("a", firstUnit, 0, "x")
	r.LostRuns = []record.LostRun{{Unit: firstUnit + nUnits, CPU: time.Second}}
	if err := by("", r).tell(l); jobs.KindOf(err) != jobs.Invalid {
		t.Error(err)
	}
	if got := spent(l); got != [ledger.Uses]float64{} || l.Unit(firstUnit, before).Status != ledger.Open {
		t.Errorf("spent %v", got)
	}
}

// TestAccountOfALiar: an agent can neither make a ledger grow by hours that there are not, nor does what it said count
// once it is revoked.
func TestAccountOfALiar(t *testing.T) {
	l := ledger.New(terms(1, 0))
	for hour := range uint32(10000) {
		r := reportOf("liar", firstUnit, 0, "x")
		r.Hour, r.Bundles, r.Lost, r.Overhead = hour*100, nil, record.MaxSpend, time.Second
		if err := by("", r).tell(l); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.Account()); n > 6 {
		t.Errorf("%d hours of a job that lives for three", n)
	}
	if err := by("", reportOf("honest", firstUnit, 0, "x")).tell(l); err != nil {
		t.Fatal(err)
	}
	l.Revoke(agent("liar"))
	if got, want := spent(l), [ledger.Uses]float64{ledger.UsefulCPU: 1}; got != want {
		t.Errorf("spent %v, expected %v", got, want)
	}
}
