package ledger

import (
	"cmp"
	"slices"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// Use is what became of CPU time.
type Use uint8

// The uses. Their sum is all that is known of.
const (
	UsefulCPU   Use = iota // of the accepted outcome of a unit, from the unit's beginning, by whoever it was used
	RepeatedCPU            // of other successes of a unit
	FailedCPU              // of failures
	LostCPU                // of runs that ended without a result, since their newest kept checkpoint
	OverheadCPU            // of agents themselves while they held work

	Uses = iota // how many there are
)

// String returns the word for the use in metrics and tables.
func (u Use) String() string {
	return [Uses]string{"useful", "repeated", "failed", "lost", "overhead"}[u]
}

// Spend is CPU time by what became of it.
type Spend struct {
	CPU  [Uses]uint64 // microseconds: a grid of thousands of cores has more than a time.Duration holds
	Runs [Uses]uint64 // of units, to their ends; none is counted as lost or overhead
}

// Add adds what o has.
func (s *Spend) Add(o Spend) {
	for u := range s.CPU {
		s.CPU[u] += o.CPU[u]
		s.Runs[u] += o.Runs[u]
	}
}

// Total returns all CPU time, in microseconds.
func (s Spend) Total() (sum uint64) {
	for _, us := range s.CPU {
		sum += us
	}
	return sum
}

// HourSpend is what was spent in an hour, by when reports were signed.
type HourSpend struct {
	Hour uint32 // since 1970
	Spend
}

// Account returns what the shard has cost, by hour in ascending order. Hours without anything are left out. What a
// revoked author said does not count.
func (l *Ledger) Account() []HourSpend {
	var out []HourSpend
	for _, h := range l.hours {
		if h.Spend != (Spend{}) {
			out = append(out, *h)
		}
	}
	slices.SortFunc(out, func(a, b HourSpend) int { return cmp.Compare(a.Hour, b.Hour) })
	return out
}

// Asides returns how many lost runs and reports without results an author wrote.
func (l *Ledger) Asides(by jobs.AgentID) (n int) {
	for _, r := range l.reports {
		if r.author.id == by && r.pack.IsZero() {
			n++
		}
	}
	for _, runs := range l.lost {
		for _, r := range runs {
			if r.report.author.id == by {
				n++
			}
		}
	}
	return n
}

// hour returns the account of an hour. One in which the job was not counts for the nearest in which it was, so that no
// report makes a ledger grow beyond its job's life.
func (l *Ledger) hour(h uint32) *HourSpend {
	first := record.HourOf(l.terms.Created.Add(-time.Hour))
	h = min(max(h, first), record.HourOf(l.terms.Expires.Add(time.Hour)))
	if l.hours[h] == nil {
		l.hours[h] = &HourSpend{Hour: h}
	}
	return l.hours[h]
}

// lostRun is a run that ended without a result, by one report.
type lostRun struct {
	report  *report
	attempt uint32
	kept    uint64 // how far its unit was at its newest checkpoint, in microseconds
	cpu     uint64 // microseconds
	lineage record.Lineage
}

// end is what an entry is of: a unit, in an attempt, by a report.
type end struct {
	report  *report
	unit    uint64
	attempt uint32
}

func (e *entry) end() end { return end{e.report, e.unit, e.attempt} }

// compare orders the lost runs of a unit by (attempt, author, report), which no two share.
func (r lostRun) compare(o lostRun) int {
	return cmp.Or(cmp.Compare(r.attempt, o.attempt), r.report.author.id.Compare(o.report.author.id), r.report.id.Compare(o.report.id))
}

// lose takes over the lost runs of a new report.
func (l *Ledger) lose(r *report, runs map[uint64][]lostRun) {
	for unit, add := range runs {
		i, _ := l.terms.index(unit) // lostOf has seen that it is there
		entries := l.bundles[i].of(unit)
		l.count(i, entries, unit, -1)
		for _, run := range add {
			run.report = r
			at, _ := slices.BinarySearchFunc(l.lost[unit], run, lostRun.compare)
			l.lost[unit] = slices.Insert(l.lost[unit], at, run)
		}
		l.count(i, entries, unit, +1)
	}
}

// use says what an entry's CPU time was for. The author is not revoked. This is the one place that knows.
func (v *verdict) use(e *entry) Use {
	switch {
	case e.failure != nil:
		return FailedCPU
	case v.status == Accepted && e == v.from:
		return UsefulCPU
	default:
		return RepeatedCPU
	}
}

// account adds the runs of a unit to their hours, or takes them out: n is 1, or its complement.
func (l *Ledger) account(entries []entry, unit uint64, v *verdict, n uint64) {
	if len(l.lost[unit]) == 0 && !l.wentOn(entries) { // most units: no run has time in common with another
		for i := range entries {
			if e := &entries[i]; !e.report.author.revoked {
				l.spend(e.report.hour, v.use(e), n*micros(e.times.CPU), n)
			}
		}
		return
	}
	runs := l.runs(entries, unit, v)
	for len(runs) > 0 {
		i := 1
		for i < len(runs) && runs[i].attempt == runs[0].attempt {
			i++
		}
		settle(runs[:i], v.status == Open)
		for _, r := range runs[:i] {
			ends := n
			if r.use == LostCPU {
				ends = 0
			}
			l.spend(r.hour, r.use, n*r.cpu, ends)
		}
		runs = runs[i:]
	}
}

func (l *Ledger) spend(h *HourSpend, use Use, us, runs uint64) {
	h.CPU[use] += us
	h.Runs[use] += runs
	if use == UsefulCPU {
		l.tally.usefulCPU += us
	}
}

// wentOn reports whether one of a unit's entries is of a run that did not begin the unit.
func (l *Ledger) wentOn(entries []entry) bool {
	if len(l.lineages) == 0 {
		return false
	}
	return slices.ContainsFunc(entries, func(e entry) bool { return l.lineages[e.end()] != nil })
}

// account counts what a report says beside its units.
func (r *report) account() {
	if !r.author.revoked {
		r.hour.CPU[LostCPU] += r.lost
		r.hour.CPU[OverheadCPU] += r.overhead
	}
}
