package ledger

import (
	"math"
	"math/bits"
	"slices"
	"time"

	"idlegrid/jobs"
)

// Unit is what a ledger shows of one unit. Sealed and dead units keep what was known of them before.
type Unit struct {
	Status   Status
	Bundle   uint64
	Outcome  jobs.Digest  // the accepted one; of a unit that fails, what its last failure wrote; may be zero
	Failure  jobs.Failure // the last one, of a unit without an accepted outcome
	Differs  bool         // accepted, and there are other outcomes as well
	Ruled    bool         // accepted by a ruling
	Attempts uint32       // attempts that anything was reported of
	From     ReportRef    // where Outcome and Failure come from; zero if there is neither
}

// ReportRef names a report and what it says in passing about a unit.
type ReportRef struct {
	ID       jobs.Digest
	Author   jobs.AgentID
	Pack     jobs.Blob
	Runtime  string
	Platform string
	Times    jobs.Times
	Attempt  uint32
}

// Counts are the units of a shard by status, and what they cost. The first six add up to its units, Differs
// is a part of Accepted.
type Counts struct {
	Open, Accepted, Failed, Conflict, Sealed, Dead uint64
	Differs                                        uint64
	UsefulCPU                                      time.Duration // of the accepted outcomes, as Account has it
	CPU                                            time.Duration // of all reports
}

// Units returns the shard's units.
func (l *Ledger) Units() (first, n uint64) { return l.terms.First, l.terms.Units }

// live reports whether anything of the shard may still be open.
func (l *Ledger) live(now time.Time) bool { return l.whole(now) == 0 }

// whole returns the status that all units have together: Sealed, Dead, or zero if they have none.
func (l *Ledger) whole(now time.Time) Status {
	submitter := l.authors[l.terms.Submitter]
	switch {
	case l.cancelled, l.terms.Expired(now), submitter != nil && submitter.revoked:
		return Dead
	case l.sealed:
		return Sealed
	}
	return 0
}

// Unit returns what is known of a unit; of one that the shard does not have, the zero Unit.
func (l *Ledger) Unit(unit uint64, now time.Time) Unit {
	i, ok := l.terms.index(unit)
	if !ok {
		return Unit{}
	}
	v := l.judge(l.bundles[i].of(unit), unit)
	u := Unit{
		Status: v.status, Bundle: l.terms.First/uint64(l.terms.Bundle) + i,
		Differs: v.differs, Ruled: v.ruled, Attempts: v.attempts,
	}
	if v.from != nil {
		u.Outcome, u.From = v.from.outcome, v.from.ref()
		if v.from.failure != nil {
			u.Failure = *v.from.failure
		}
	}
	if s := l.whole(now); s != 0 {
		u.Status = s
	}
	return u
}

func (e *entry) ref() ReportRef {
	r := e.report
	return ReportRef{
		ID: r.id, Author: r.author.id, Pack: r.pack, Runtime: r.platform.runtime, Platform: r.platform.system,
		Times: e.times, Attempt: e.attempt,
	}
}

// Counts counts the units without walking over them.
func (l *Ledger) Counts(now time.Time) Counts {
	c := Counts{UsefulCPU: duration(l.tally.usefulCPU), CPU: duration(l.tally.cpu)}
	switch l.whole(now) {
	case Dead:
		c.Dead = l.terms.Units
	case Sealed:
		c.Sealed = l.terms.Units
	default:
		c.Open, c.Accepted = l.tally.units[Open], l.tally.units[Accepted]
		c.Failed, c.Conflict = l.tally.units[Failed], l.tally.units[Conflict]
		c.Differs = l.tally.differs
	}
	return c
}

func duration(micros uint64) time.Duration {
	if micros > math.MaxInt64/uint64(time.Microsecond) {
		return math.MaxInt64
	}
	return time.Duration(micros) * time.Microsecond
}

// NextOpen returns the number of the first bundle with open units at or after bundle from, without going
// over the units: a whole shard is 256 words.
func (l *Ledger) NextOpen(from uint64, now time.Time) (bundle uint64, ok bool) {
	base := l.terms.First / uint64(l.terms.Bundle)
	i := max(from, base) - base
	if !l.live(now) || i >= uint64(len(l.bundles)) {
		return 0, false
	}
	word := l.openBits[i/wordBits] >> (i % wordBits) << (i % wordBits)
	for w := i / wordBits; ; word = l.openBits[w] {
		if word != 0 {
			return base + w*wordBits + uint64(bits.TrailingZeros64(word)), true
		}
		if w++; w == uint64(len(l.openBits)) {
			return 0, false
		}
	}
}

// OpenUnits returns the open units of a bundle in ascending order.
func (l *Ledger) OpenUnits(bundle uint64, now time.Time) []uint64 {
	i, ok := l.terms.bundleIndex(bundle)
	if !ok || !l.live(now) || l.bundles[i].open == 0 {
		return nil
	}
	units := make([]uint64, 0, l.bundles[i].open)
	next, n := l.terms.bundleUnits(i)
	end := next + n
	for e := range byUnit(l.bundles[i].entries) {
		for ; next < e[0].unit; next++ {
			units = append(units, next)
		}
		if l.judge(e, next).status == Open {
			units = append(units, next)
		}
		next++
	}
	for ; next < end; next++ {
		units = append(units, next)
	}
	return units
}

// Attempt returns the number for the next attempt of a bundle: the lowest that no failure of its open units
// has, so that another failure always counts as another attempt.
func (l *Ledger) Attempt(bundle uint64) uint32 {
	used := map[uint32]bool{}
	for e := range l.openFailures(bundle) {
		used[e.attempt] = true
	}
	next := uint32(0)
	for used[next] {
		next++
	}
	return next
}

// FailedBy returns the agents that reported failures of units of a bundle that are open, in ascending order.
func (l *Ledger) FailedBy(bundle uint64) []jobs.AgentID {
	seen := map[jobs.AgentID]bool{}
	var agents []jobs.AgentID
	for e := range l.openFailures(bundle) {
		if id := e.report.author.id; !seen[id] {
			seen[id] = true
			agents = append(agents, id)
		}
	}
	slices.SortFunc(agents, jobs.AgentID.Compare)
	return agents
}

// openFailures iterates over the failures of a bundle's open units.
func (l *Ledger) openFailures(bundle uint64) func(yield func(*entry) bool) {
	return func(yield func(*entry) bool) {
		i, ok := l.terms.bundleIndex(bundle)
		if !ok || l.bundles[i].open == 0 {
			return
		}
		for run := range byUnit(l.bundles[i].entries) {
			if l.judge(run, run[0].unit).status != Open {
				continue
			}
			for j := range run {
				if e := &run[j]; e.failure != nil && !e.report.author.revoked && !yield(e) {
					return
				}
			}
		}
	}
}

// Try is what one report says of a unit.
type Try struct {
	Outcome jobs.Digest  // of a failed unit, of what it wrote; may be zero
	Failure jobs.Failure // zero: the unit succeeded
	From    ReportRef
}

// Tries returns all that was reported of a unit, in the order of attempts.
func (l *Ledger) Tries(unit uint64) []Try {
	i, ok := l.terms.index(unit)
	if !ok {
		return nil
	}
	var tries []Try
	for _, e := range l.bundles[i].of(unit) {
		if e.report.author.revoked {
			continue
		}
		t := Try{Outcome: e.outcome, From: e.ref()}
		if e.failure != nil {
			t.Failure = *e.failure
		}
		tries = append(tries, t)
	}
	return tries
}
