package ledger_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// equal fails unless two ledgers show the same.
func equal(t *rapid.T, what string, a, b *ledger.Ledger) {
	if x, y := viewOf(a), viewOf(b); !reflect.DeepEqual(x, y) {
		t.Fatalf("%s:\n%+v\n%+v", what, x, y)
	}
}

// split draws two sets of records that may overlap.
func split(t *rapid.T, all []said) (left, right []said) {
	for _, s := range all {
		side := rapid.IntRange(0, 2).Draw(t, "side")
		if side != 1 {
			left = append(left, s)
		}
		if side != 0 {
			right = append(right, s)
		}
	}
	return left, right
}

func TestP2AnyOrderTwiceOrOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		want := told(t, terms, all)
		again := append(append([]said{}, all...), rapid.SliceOfN(rapid.SampledFrom(append(all, said{})), 0, 10).Draw(t, "again")...)
		equal(t, "in another order, some twice", want, told(t, terms, rapid.Permutation(again).Draw(t, "order")))
	})
}

func TestP2TheSameAgainChangesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		l := told(t, terms, all)
		want := viewOf(l)
		for _, s := range all {
			if s.report != nil {
				if fresh, err := l.AddReport(reportID(s.report), s.report, s.owner); fresh || err != nil {
					t.Fatalf("a known report is new: %v, %v", fresh, err)
				}
			}
			if s.ruling != nil && l.AddRuling(jobs.DigestOf(s.ruling.Encode()), s.ruling) {
				t.Fatal("a known ruling is new")
			}
		}
		if got := viewOf(l); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\n%+v", got, want)
		}
	})
}

func TestP2JoinIsUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		left, right := split(t, all)
		l := told(t, terms, left)
		l.Join(told(t, terms, right))
		equal(t, "join", l, told(t, terms, all))
	})
}

func TestP2JoinIsCommutativeAndIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		left, right := split(t, all)
		a, b := told(t, terms, left), told(t, terms, right)
		a.Join(told(t, terms, right))
		b.Join(told(t, terms, left))
		equal(t, "commutative", a, b)
		a.Join(a)
		equal(t, "with itself", a, b)
		a.Join(b)
		equal(t, "again", a, b)
	})
}

func TestP2JoinIsAssociative(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		x, rest := split(t, all)
		y, z := split(t, rest)
		a, b, c := told(t, terms, x), told(t, terms, y), told(t, terms, x)
		a.Join(b) // (x y) z
		a.Join(told(t, terms, z))
		b.Join(told(t, terms, z)) // x (y z)
		c.Join(b)
		equal(t, "associative", a, c)
	})
}

// rank orders statuses as honest agents may go through them.
var rank = map[ledger.Status]int{ledger.Open: 0, ledger.Failed: 1, ledger.Accepted: 2, ledger.Sealed: 3}

// drawHonest draws reports of honest agents about deterministic units: any of them may be run more than once,
// and fail for reasons of its own now and then, but a success always has the one outcome.
func drawHonest(t *rapid.T) []said {
	all := rapid.SliceOfN(rapid.Custom(drawReport), 0, 40).Draw(t, "reports")
	for i := range all {
		all[i].owner = all[i].report.Author.String()[:1] // an agent stays with its owner
		for _, b := range all[i].report.Bundles {
			for j := range b.Units {
				if !b.Units[j].Failure.Failed() {
					b.Units[j].Outcome = outcome(fmt.Sprint(b.Units[j].Unit))
				}
			}
		}
	}
	return all
}

func TestP3HonestUnitsOnlyGoForward(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := drawTerms(t)
		l := ledger.New(terms)
		was := map[uint64]int{}
		for _, s := range append(drawHonest(t), said{seal: true}) {
			if err := s.tell(l); err != nil {
				t.Fatal(err)
			}
			for unit := uint64(firstUnit); unit < firstUnit+nUnits; unit++ {
				u := l.Unit(unit, before)
				is, ok := rank[u.Status]
				if !ok || is < was[unit] || u.Differs {
					t.Fatalf("unit %d: %v after rank %d, differs %v", unit, u.Status, was[unit], u.Differs)
				}
				if u.Status == ledger.Accepted && u.Outcome != outcome(fmt.Sprint(unit)) {
					t.Fatalf("unit %d has a wrong outcome", unit)
				}
				was[unit] = is
			}
		}
	})
}

// TestP3EveryUnitIsFinished plays the steward's part: it lends whatever is open, to agents that fail at random
// up to a bound, and must come to an end.
func TestP3EveryUnitIsFinished(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms := drawTerms(t)
		l := ledger.New(terms)
		limit := nUnits * int(max(terms.Quorum, 1)) * int(terms.Retries+1)
		leases := 0
		for b, ok := l.NextOpen(0, before); ok; b, ok = l.NextOpen(0, before) {
			if leases++; leases > limit {
				t.Fatalf("still open after %d leases: %v", limit, l.OpenUnits(b, before))
			}
			if _, err := l.AddReport(lease(t, l, b, leases)); err != nil {
				t.Fatal(err)
			}
		}
		if c := l.Counts(before); c.Open != 0 || c.Accepted+c.Failed != nUnits {
			t.Fatalf("%+v", c)
		}
	})
}

// lease runs the open units of a bundle on a machine that had no lease before.
func lease(t *rapid.T, l *ledger.Ledger, bundle uint64, n int) (jobs.Digest, *record.Report, string) {
	r := reportOf(fmt.Sprint("lessee ", n), bundle*bundleSize, l.Attempt(bundle), "x")
	r.Bundles[0].Units = nil
	for _, unit := range l.OpenUnits(bundle, before) {
		u := record.UnitReport{Unit: unit, Outcome: outcome(fmt.Sprint(unit))}
		if rapid.Bool().Draw(t, "fails") {
			u = record.UnitReport{Unit: unit, Failure: jobs.Failure{Kind: jobs.FailureCrash}}
		}
		r.Bundles[0].Units = append(r.Bundles[0].Units, u)
	}
	return reportID(r), r, ""
}

func TestExpiryHasTwoEdges(t *testing.T) {
	terms := terms(1, 0)
	l := ledger.New(terms)
	for _, c := range []struct {
		at        time.Duration
		dead      bool
		mergeable bool
	}{
		{-ledger.Skew, false, true},
		{0, false, true},
		{1, true, true},
		{ledger.Skew, true, true},
		{ledger.Skew + 1, true, false},
	} {
		now := expires.Add(c.at)
		if got := l.Unit(firstUnit, now).Status == ledger.Dead; got != c.dead || terms.Expired(now) != c.dead {
			t.Errorf("at %v: dead %v, expected %v", c.at, got, c.dead)
		}
		if got := terms.Mergeable(now); got != c.mergeable {
			t.Errorf("at %v: mergeable %v, expected %v", c.at, got, c.mergeable)
		}
	}
}
