package ledger_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// cost is what a unit's run took together with those from whose checkpoint it went on.
func (n *naive) cost(unit uint64, report jobs.Digest, attempt uint32) time.Duration {
	for _, c := range n.claims(unit) {
		if c.id == report && c.attempt == attempt {
			return c.u.Before + c.u.Times.CPU
		}
	}
	return 0
}

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
		n.accountUnit(l.Unit(unit, before), unit, func(c claim, use ledger.Use, cpu time.Duration) {
			add(reports[c.id].Hour, use, cpu, 1)
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

// accountUnit tells of each claim about a unit what it costs, and for what. The time that runs of an attempt have in
// common counts once.
func (n *naive) accountUnit(u ledger.Unit, unit uint64, add func(claim, ledger.Use, time.Duration)) {
	claims := n.claims(unit)
	useful := func(c claim) bool {
		return !u.Outcome.IsZero() && !u.Failure.Failed() && c.id == u.From.ID && c.attempt == u.From.Attempt
	}
	needs := map[uint32]time.Duration{} // by attempt, what its whole run went on from and nobody was found to have
	for i, c := range claims {
		whole := slices.IndexFunc(claims, func(d claim) bool { return d.attempt == c.attempt && useful(d) })
		if whole < 0 {
			whole = slices.IndexFunc(claims, func(d claim) bool { return d.attempt == c.attempt })
		}
		if _, known := needs[c.attempt]; !known {
			needs[c.attempt] = claims[whole].u.Before
		}
		cpu, need := c.u.Times.CPU, needs[c.attempt]
		if i == whole {
			cpu += c.u.Before
		} else if c.u.Before < need && need <= c.u.Before+c.u.Times.CPU {
			cpu, needs[c.attempt] = cpu-(need-c.u.Before), c.u.Before
		}
		switch {
		case c.u.Failure.Failed():
			add(c, ledger.FailedCPU, cpu)
		case useful(c):
			add(c, ledger.UsefulCPU, cpu)
		default:
			add(c, ledger.RepeatedCPU, cpu)
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

// TestAccountCountsSharedTimeOnce: runs of one unit that went on from each other's checkpoints. Each line is what an
// agent took, and from where it went on, by seconds of the unit; the first is the accepted one.
func TestAccountCountsSharedTimeOnce(t *testing.T) {
	type run struct{ from, to int }
	for _, c := range []struct {
		name             string
		runs             []run
		useful, repeated float64
	}{
		{"one run", []run{{0, 10}}, 10, 0},
		{"one that went on from a killed one", []run{{6, 10}}, 10, 0},
		{"two from the beginning", []run{{0, 10}, {0, 10}}, 10, 10},
		{"the other went on from this one", []run{{0, 10}, {6, 10}}, 10, 4},
		{"this one went on from the other", []run{{6, 10}, {0, 10}}, 10, 4},
		{"both went on from a killed one", []run{{6, 10}, {6, 10}}, 10, 4},
		{"three in a row", []run{{8, 10}, {6, 10}, {0, 10}}, 10, 6},
		{"two went on from one of two", []run{{6, 10}, {0, 10}, {0, 10}}, 10, 14},
		{"the other did not get as far", []run{{6, 10}, {0, 4}}, 10, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := ledger.New(terms(1, 0))
			for i, run := range c.runs {
				r := reportOf(fmt.Sprint(i), firstUnit, 0, "x")
				u := &r.Bundles[0].Units[0]
				u.Before = time.Duration(run.from) * time.Second
				u.Times.CPU = time.Duration(run.to-run.from) * time.Second
				if i > 0 {
					u.Outcome = outcome("y")
				}
				if err := by("", r).tell(l); err != nil {
					t.Fatal(err)
				}
			}
			ruling := &record.Ruling{Job: theJob, Units: []record.RuledUnit{{Unit: firstUnit, Outcome: outcome("x")}}}
			if err := (said{ruling: ruling}).tell(l); err != nil {
				t.Fatal(err)
			}
			if got, want := spent(l), [ledger.Uses]float64{ledger.UsefulCPU: c.useful, ledger.RepeatedCPU: c.repeated}; got != want {
				t.Errorf("spent %v, expected %v", got, want)
			}
		})
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
