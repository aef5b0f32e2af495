package ledger

import (
	"cmp"
	"slices"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// maxRelated bounds the runs of one attempt of a unit among which it is looked who went on from whom. There are a handful;
// only forgers write more, and those count as if none had anything in common.
const maxRelated = 64

// unitRun is a run of a unit in one attempt, with a result or without.
type unitRun struct {
	hour    *HourSpend
	author  jobs.AgentID
	attempt uint32
	use     Use
	lineage record.Lineage
	cpu     uint64 // microseconds that count
	reached uint64 // how far its unit was when others could go on from it last, in microseconds
}

// begun is how far its unit was at the begin of the run, in microseconds.
func (r *unitRun) begun() uint64 { return micros(r.lineage.Before()) }

// runs returns all runs of a unit by authors who are not revoked, by attempt.
func (l *Ledger) runs(entries []entry, unit uint64, v *verdict) []unitRun {
	var out []unitRun
	for i := range entries {
		e := &entries[i]
		if e.report.author.revoked {
			continue
		}
		r := unitRun{
			hour: e.report.hour, author: e.report.author.id, attempt: e.attempt, use: v.use(e),
			lineage: l.lineages[e.end()], cpu: micros(e.times.CPU),
		}
		r.reached = r.begun() + r.cpu
		out = append(out, r)
	}
	for _, lost := range l.lost[unit] {
		if !lost.report.author.revoked {
			out = append(out, unitRun{
				hour: lost.report.hour, author: lost.report.author.id, attempt: lost.attempt, use: LostCPU,
				lineage: lost.lineage, cpu: lost.cpu, reached: lost.kept,
			})
		}
	}
	slices.SortStableFunc(out, func(a, b unitRun) int { return cmp.Compare(a.attempt, b.attempt) })
	return out
}

// killed names a run that could not report, as its machine was killed: by whom, and from where in its unit it went on.
type killed struct {
	author jobs.AgentID
	begun  uint64
}

// settle sets what counts of the runs of one attempt, so that time counts once.
//
// The accepted run counts from its unit's beginning, whoever used that, and the runs from which it went on without what
// it took from them. Of a killed run there is no report, but those that went on from it name it: what they took from it
// counts with the first of them. While nothing has come of an open unit, what lost runs have in their checkpoints does
// not count: somebody may go on from there.
func settle(runs []unitRun, open bool) {
	if open && !slices.ContainsFunc(runs, func(r unitRun) bool { return r.use != LostCPU }) {
		for i := range runs {
			r := &runs[i]
			r.cpu -= min(r.cpu, r.reached-min(r.reached, r.begun()))
		}
		return
	}
	if len(runs) > maxRelated {
		return
	}
	counted := map[killed]uint64{} // up to where the time of killed runs counts
	if i := slices.IndexFunc(runs, func(r unitRun) bool { return r.use == UsefulCPU }); i >= 0 {
		useful := &runs[i]
		useful.cpu += useful.begun()
		for before, k := range ancestors(useful.lineage) {
			if p := find(runs, k, before); p != nil {
				p.cpu -= min(p.cpu, before-k.begun)
			} else {
				counted[k] = before
			}
		}
	}
	for i := range runs {
		r := &runs[i]
		if r.use == UsefulCPU {
			continue
		}
		for before, k := range ancestors(r.lineage) {
			if had := max(counted[k], k.begun); before > had && find(runs, k, before) == nil {
				r.cpu += before - had
				counted[k] = before
			}
		}
	}
}

// ancestors iterates over the runs of a lineage, and how far each had come when the next went on from it. Of a lineage
// that is as long as one may be the last is left out: nobody knows from where that went on.
func ancestors(l record.Lineage) func(yield func(uint64, killed) bool) {
	return func(yield func(uint64, killed) bool) {
		for i, o := range l {
			if i == record.MaxLineage-1 {
				return
			}
			if !yield(micros(o.Before), killed{o.From, micros(l[i+1:].Before())}) {
				return
			}
		}
	}
}

// find returns the run that an ancestor is and that came so far; nil: it is not here.
func find(runs []unitRun, k killed, reached uint64) *unitRun {
	for i := range runs {
		if r := &runs[i]; r.author == k.author && r.begun() == k.begun && reached <= r.reached {
			return r
		}
	}
	return nil
}
