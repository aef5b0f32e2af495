package ledger

import (
	"fmt"
	"slices"
	"strings"

	"idlegrid/jobs"
)

// Status is what a unit has come to. The zero value is that of a unit which the shard does not have.
type Status uint8

// The statuses; the package comment says when each holds.
const (
	Open Status = iota + 1
	Accepted
	Failed
	Conflict
	Sealed
	Dead
)

// String returns the word shown to people and written into units.json.
func (s Status) String() string {
	names := [...]string{"none", "open", "accepted", "failed", "conflict", "sealed", "dead"}
	if int(s) >= len(names) {
		return fmt.Sprintf("status %d", uint8(s))
	}
	return names[s]
}

// verdict is what the records say of one unit, apart from what ends the whole job.
type verdict struct {
	status   Status // Open, Accepted, Failed or Conflict
	from     *entry // of an accepted unit its outcome, else its last failure, if any
	differs  bool
	ruled    bool
	attempts uint32
}

// judge returns the verdict on a unit from its sorted entries.
func (l *Ledger) judge(entries []entry, unit uint64) verdict {
	v := verdict{status: Open}
	if len(entries) == 0 { // of most units this is asked once, just before their only report is added
		return v
	}
	failures := v.look(entries)
	if r, ok := l.rulings[unit]; ok {
		v.from = firstWith(entries, r.outcome)
		v.ruled = v.from != nil
	}
	conflict := false
	switch {
	case v.ruled:
	case l.terms.Quorum == 1:
		v.from = firstSuccess(entries)
	default:
		v.from, conflict = agreed(entries, int(l.terms.Quorum))
	}
	switch {
	case v.from != nil:
		v.status = Accepted
	case conflict:
		v.status = Conflict
	default:
		v.from = lastFailure(entries)
		if uint64(failures) > uint64(l.terms.Retries) {
			v.status = Failed
		}
	}
	v.differs = v.differs && v.status == Accepted
	return v
}

// look sets attempts and whether there are different outcomes, and returns in how many attempts there were
// failures. Entries come in the order of their attempts, so that it need remember no more than the last.
func (v *verdict) look(entries []entry) (failures uint32) {
	var first, seen, failed *entry
	for i := range entries {
		e := &entries[i]
		if e.report.author.revoked {
			continue
		}
		if seen == nil || seen.attempt != e.attempt {
			v.attempts++
		}
		seen = e
		switch {
		case e.failure != nil:
			if failed == nil || failed.attempt != e.attempt {
				failures++
			}
			failed = e
		case first == nil:
			first = e
		default:
			v.differs = v.differs || first.outcome != e.outcome
		}
	}
	return failures
}

// success reports whether the entry is one, by an author who is not revoked.
func (e *entry) success() bool { return e.failure == nil && !e.report.author.revoked }

func firstSuccess(entries []entry) *entry {
	for i := range entries {
		if entries[i].success() {
			return &entries[i]
		}
	}
	return nil
}

func firstWith(entries []entry, outcome jobs.Digest) *entry {
	for i := range entries {
		if entries[i].success() && entries[i].outcome == outcome {
			return &entries[i]
		}
	}
	return nil
}

func lastFailure(entries []entry) *entry {
	for i := range slices.Backward(entries) {
		if entries[i].failure != nil && !entries[i].report.author.revoked {
			return &entries[i]
		}
	}
	return nil
}

// vote is what speaks for one outcome.
type vote struct {
	from      *entry // the first of its entries
	owners    map[string]bool
	platforms map[*platform]bool
}

// agreed returns the accepted one of those outcomes that at least quorum owners reported, or says that they
// are in conflict.
func agreed(entries []entry, quorum int) (accepted *entry, conflict bool) {
	if len(entries) < quorum {
		return nil, false
	}
	taken := map[*platform]bool{}
	var best *platform
	for _, v := range votes(entries) {
		if len(v.owners) < quorum {
			continue
		}
		for p := range v.platforms {
			if taken[p] {
				return nil, true
			}
			taken[p] = true
			if best == nil || p.compare(best) < 0 {
				best, accepted = p, v.from
			}
		}
	}
	return accepted, false
}

// votes gathers what speaks for each outcome, leaving out agents with two of them.
func votes(entries []entry) map[jobs.Digest]*vote {
	twice := equivocators(entries)
	votes := map[jobs.Digest]*vote{}
	for i := range entries {
		e := &entries[i]
		if !e.success() || twice[e.report.author] {
			continue
		}
		v := votes[e.outcome]
		if v == nil {
			v = &vote{from: e, owners: map[string]bool{}, platforms: map[*platform]bool{}}
			votes[e.outcome] = v
		}
		v.owners[e.report.author.owner] = true
		v.platforms[e.report.platform] = true
	}
	return votes
}

// equivocators returns the agents with two different outcomes of the unit.
func equivocators(entries []entry) map[*author]bool {
	said := map[*author]jobs.Digest{}
	twice := map[*author]bool{}
	for i := range entries {
		e := &entries[i]
		if !e.success() {
			continue
		}
		if outcome, ok := said[e.report.author]; ok && outcome != e.outcome {
			twice[e.report.author] = true
		}
		said[e.report.author] = e.outcome
	}
	return twice
}

func (p *platform) compare(q *platform) int {
	if c := strings.Compare(p.runtime, q.runtime); c != 0 {
		return c
	}
	return strings.Compare(p.system, q.system)
}
