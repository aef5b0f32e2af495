package ledger

import (
	"cmp"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// AddRuling adds a ruling by the job's submitter, and returns true if it is now the one that counts for a
// unit of this shard. What it says of other shards' units is not looked at, nor a ruling about another job.
func (l *Ledger) AddRuling(id jobs.Digest, r *record.Ruling) bool {
	if r.Job != l.terms.Job {
		return false
	}
	changed := false
	for _, u := range r.Units {
		changed = l.rule(u.Unit, ruling{sequence: r.Sequence, id: id, outcome: u.Outcome}) || changed
	}
	return changed
}

func (l *Ledger) rule(unit uint64, r ruling) bool {
	i, ok := l.terms.index(unit)
	if old, ruled := l.rulings[unit]; !ok || (ruled && !old.less(r)) {
		return false
	}
	entries := l.bundles[i].of(unit)
	l.count(i, entries, unit, -1)
	l.rulings[unit] = r
	l.count(i, entries, unit, +1)
	return true
}

// less orders rulings on one unit: the highest counts.
func (r ruling) less(s ruling) bool {
	return cmp.Or(cmp.Compare(r.sequence, s.sequence), r.id.Compare(s.id)) < 0
}

// Cancel ends the job, for good.
func (l *Ledger) Cancel() { l.cancelled = true }

// Seal notes that the submitter has the results.
func (l *Ledger) Seal() { l.sealed = true }

// Revoke takes away whatever an author said and will say. To revoke the job's submitter ends the job.
func (l *Ledger) Revoke(id jobs.AgentID) {
	a := l.authors[id]
	switch {
	case a == nil: // it has said nothing yet
		l.authors[id] = &author{id: id, revoked: true}
	case !a.revoked:
		a.revoked = true
		l.recount()
	}
}

// Join adds all that other knows. Both must be of one shard of one job.
func (l *Ledger) Join(other *Ledger) {
	l.cancelled = l.cancelled || other.cancelled
	l.sealed = l.sealed || other.sealed
	for unit, r := range other.rulings {
		l.rule(unit, r)
	}
	for id, a := range other.authors {
		if a.owner != "" {
			l.author(id, a.owner)
		}
		if a.revoked {
			l.Revoke(id)
		}
	}
	l.joinReports(other)
}

func (l *Ledger) joinReports(other *Ledger) {
	fresh := map[*report][]entry{}
	for id, r := range other.reports {
		if l.reports[id] == nil {
			fresh[r] = nil // some have no entries
		}
	}
	for i := range other.bundles {
		for _, e := range other.bundles[i].entries {
			if l.reports[e.report.id] == nil {
				fresh[e.report] = append(fresh[e.report], e)
			}
		}
	}
	lost := map[*report]map[uint64][]lostRun{}
	for unit, runs := range other.lost {
		for _, run := range runs {
			if _, isFresh := fresh[run.report]; !isFresh {
				continue
			}
			if lost[run.report] == nil {
				lost[run.report] = map[uint64][]lostRun{}
			}
			lost[run.report][unit] = append(lost[run.report][unit], run)
		}
	}
	owns := map[*report]*report{}
	for r := range fresh {
		owns[r] = l.takeOver(r)
	}
	for e, lineage := range other.lineages {
		if own := owns[e.report]; own != nil {
			l.lineages[end{own, e.unit, e.attempt}] = lineage
		}
	}
	for r, entries := range fresh {
		own := owns[r]
		l.insert(own, entries)
		l.lose(own, lost[r])
	}
}

// takeOver adds a report of another ledger.
func (l *Ledger) takeOver(r *report) *report {
	own := *r
	own.author, own.hour = l.authors[r.author.id], l.hour(r.hour.Hour)
	return l.addReport(own)
}
