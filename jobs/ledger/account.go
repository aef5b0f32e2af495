package ledger

import (
	"cmp"
	"math"
	"slices"
	"time"

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

// use says what an entry's CPU time was for. The author is not revoked.
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

// account adds the entries of a unit to their hours, or takes them out: n is 1, or its complement.
//
// Runs of an attempt that went on from each other's checkpoints have time in common, which counts once. The accepted
// run, or the first where none is, counts from the unit's beginning, whoever used that. What it went on from is taken
// from those others that reached it; what none of them has was used by runs that ended without a report.
func (l *Ledger) account(entries []entry, v *verdict, n uint64) {
	var whole *entry
	var need uint64 // of what it went on from, up to where others may have it
	for i := range entries {
		e := &entries[i]
		if e.report.author.revoked {
			continue
		}
		if whole == nil || whole.attempt != e.attempt {
			whole = e
			if v.status == Accepted && v.from.attempt == e.attempt {
				whole = v.from
			}
			need = beforeMicros(whole)
		}
		cpu, begun := micros(e.times.CPU), beforeMicros(e)
		switch {
		case e == whole:
			cpu += begun
		case begun < need && begun+cpu >= need:
			cpu -= need - begun
			need = begun
		}
		use := v.use(e)
		e.report.hour.CPU[use] += n * cpu
		e.report.hour.Runs[use] += n
	}
}

// account counts what a report says beside its units.
func (r *report) account() {
	if !r.author.revoked {
		r.hour.CPU[LostCPU] += r.lost
		r.hour.CPU[OverheadCPU] += r.overhead
	}
}

// millis returns whole milliseconds as an entry holds them; record.MaxUnitMicros fits.
func millis(d time.Duration) uint32 { return uint32(min(d/time.Millisecond, math.MaxUint32)) }

func beforeMicros(e *entry) uint64 { return uint64(e.before) * 1000 }
