package ledger_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// claim is one line of a report, as the naive reading of the rules sees it.
type claim struct {
	attempt  uint32
	author   jobs.AgentID
	id       jobs.Digest
	owner    string
	platform string
	u        record.UnitReport
}

// naive is the rules of the package comment, written down once more without any thought of speed.
type naive struct {
	terms  ledger.Terms
	all    []said
	owners map[jobs.AgentID]string
}

func newNaive(terms ledger.Terms, all []said) *naive {
	n := &naive{terms: terms, all: all, owners: map[jobs.AgentID]string{}}
	for _, s := range all {
		if s.report != nil {
			if old, ok := n.owners[s.report.Author]; !ok || s.owner < old {
				n.owners[s.report.Author] = s.owner
			}
		}
	}
	return n
}

func (n *naive) revoked(id jobs.KeyID) bool {
	return slices.ContainsFunc(n.all, func(s said) bool { return s.revoke != nil && *s.revoke == id })
}

// reports returns each report once.
func (n *naive) reports() map[jobs.Digest]*record.Report {
	m := map[jobs.Digest]*record.Report{}
	for _, s := range n.all {
		if s.report != nil {
			m[reportID(s.report)] = s.report
		}
	}
	return m
}

// claims returns what counts about a unit, in the order of (attempt, author, report).
func (n *naive) claims(unit uint64) []claim {
	var claims []claim
	for id, r := range n.reports() {
		for _, b := range r.Bundles {
			for _, u := range b.Units {
				if u.Unit == unit && !n.revoked(r.Author) {
					claims = append(claims, claim{b.Attempt, r.Author, id, n.owners[r.Author], r.Runtime + "|" + r.Platform, u})
				}
			}
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		if a.attempt != b.attempt {
			return int(a.attempt) - int(b.attempt)
		}
		if c := a.author.Compare(b.author); c != 0 {
			return c
		}
		return a.id.Compare(b.id)
	})
	return claims
}

func (n *naive) ruling(unit uint64) (best jobs.Digest, ok bool) {
	var sequence uint64
	var id jobs.Digest
	for _, s := range n.all {
		if s.ruling == nil {
			continue
		}
		rid := jobs.DigestOf(s.ruling.Encode())
		for _, u := range s.ruling.Units {
			if u.Unit == unit && (!ok || s.ruling.Sequence > sequence || (s.ruling.Sequence == sequence && rid.Compare(id) > 0)) {
				best, sequence, id, ok = u.Outcome, s.ruling.Sequence, rid, true
			}
		}
	}
	return best, ok
}

// enough returns the outcomes that enough owners reported, each with the platforms they came from.
func (n *naive) enough(successes []claim) map[jobs.Digest][]string {
	enough := map[jobs.Digest][]string{}
	for _, c := range successes {
		owners, platforms := map[string]bool{}, []string{}
		for _, d := range successes {
			two := slices.ContainsFunc(successes, func(e claim) bool { return e.author == d.author && e.u.Outcome != d.u.Outcome })
			if d.u.Outcome == c.u.Outcome && !two {
				owners[d.owner] = true
				platforms = append(platforms, d.platform)
			}
		}
		if len(owners) >= int(n.terms.Quorum) {
			slices.Sort(platforms)
			enough[c.u.Outcome] = platforms
		}
	}
	return enough
}

func (n *naive) status(unit uint64, now time.Time) (s ledger.Status, accepted jobs.Digest) {
	s, accepted = n.ofRecords(unit)
	is := func(f func(said) bool) bool { return slices.ContainsFunc(n.all, f) }
	switch {
	case now.After(n.terms.Expires), is(func(s said) bool { return s.cancel }), n.revoked(n.terms.Submitter):
		s = ledger.Dead
	case is(func(s said) bool { return s.seal }):
		s = ledger.Sealed
	}
	return s, accepted
}

func (n *naive) ofRecords(unit uint64) (ledger.Status, jobs.Digest) {
	var successes []claim
	failed := map[uint32]bool{}
	for _, c := range n.claims(unit) {
		if c.u.Failure.Failed() {
			failed[c.attempt] = true
		} else {
			successes = append(successes, c)
		}
	}
	if r, ok := n.ruling(unit); ok && slices.ContainsFunc(successes, func(c claim) bool { return c.u.Outcome == r }) {
		return ledger.Accepted, r
	}
	if n.terms.Quorum <= 1 && len(successes) > 0 {
		return ledger.Accepted, successes[0].u.Outcome
	}
	if n.terms.Quorum > 1 {
		if s, accepted := pick(n.enough(successes)); s != ledger.Open {
			return s, accepted
		}
	}
	if len(failed) >= int(n.terms.Retries)+1 {
		return ledger.Failed, jobs.Digest{}
	}
	return ledger.Open, jobs.Digest{}
}

func pick(enough map[jobs.Digest][]string) (ledger.Status, jobs.Digest) {
	status, accepted, lowest := ledger.Open, jobs.Digest{}, ""
	for d, platforms := range enough {
		for e, others := range enough {
			shared := slices.ContainsFunc(platforms, func(p string) bool { return slices.Contains(others, p) })
			if d != e && shared {
				return ledger.Conflict, jobs.Digest{}
			}
		}
		if status == ledger.Open || platforms[0] < lowest {
			status, accepted, lowest = ledger.Accepted, d, platforms[0]
		}
	}
	return status, accepted
}

func TestStatusIsWhatTheRulesSay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		l, n := told(t, terms, all), newNaive(terms, all)
		for _, now := range []time.Time{before, expires.Add(1)} {
			for unit := uint64(firstUnit); unit < firstUnit+nUnits; unit++ {
				got := l.Unit(unit, now)
				want, accepted := n.status(unit, now)
				if got.Status != want {
					t.Fatalf("unit %d is %v, expected %v", unit, got.Status, want)
				}
				if !accepted.IsZero() && got.Outcome != accepted {
					t.Fatalf("unit %d has outcome %v, expected %v", unit, got.Outcome, accepted)
				}
			}
		}
	})
}

func TestCountsAreThoseOfTheUnits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		l, n := told(t, terms, all), newNaive(terms, all)
		for _, now := range []time.Time{before, expires.Add(1)} {
			if got, want := l.Counts(now), n.counts(l, now); got != want {
				t.Fatalf("counts %+v, expected %+v", got, want)
			}
		}
	})
}

// counts walks over all units and reports.
func (n *naive) counts(l *ledger.Ledger, now time.Time) ledger.Counts {
	var c ledger.Counts
	into := map[ledger.Status]*uint64{
		ledger.Open: &c.Open, ledger.Accepted: &c.Accepted, ledger.Failed: &c.Failed,
		ledger.Conflict: &c.Conflict, ledger.Sealed: &c.Sealed, ledger.Dead: &c.Dead,
	}
	for unit := uint64(firstUnit); unit < firstUnit+nUnits; unit++ {
		status, _ := n.status(unit, now)
		*into[status]++
		different := map[jobs.Digest]bool{}
		for _, claim := range n.claims(unit) {
			if !claim.u.Failure.Failed() {
				different[claim.u.Outcome] = true
			}
		}
		if status == ledger.Accepted && len(different) > 1 {
			c.Differs++
		}
	}
	for _, h := range n.account(l) {
		c.UsefulCPU += time.Duration(h.CPU[ledger.UsefulCPU]) * time.Microsecond
	}
	for _, r := range n.reports() {
		for _, b := range r.Bundles {
			for _, u := range b.Units {
				c.CPU += u.Times.CPU
			}
		}
	}
	return c
}

func TestOpenUnitsAndNextOpenFindEveryOpenUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		terms, all := drawTerms(t), drawSaid(t)
		l, n := told(t, terms, all), newNaive(terms, all)
		var want, got []uint64
		for unit := uint64(firstUnit); unit < firstUnit+nUnits; unit++ {
			if s, _ := n.status(unit, before); s == ledger.Open {
				want = append(want, unit)
			}
		}
		for b, ok := l.NextOpen(0, before); ok; b, ok = l.NextOpen(b+1, before) {
			open := l.OpenUnits(b, before)
			if len(open) == 0 {
				t.Fatalf("bundle %d has no open units", b)
			}
			got = append(got, open...)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("open units %v, expected %v", got, want)
		}
	})
}
