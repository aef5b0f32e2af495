package ledger

import (
	"cmp"
	"slices"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// Ledger is what is known of a shard. Make one with New. It is not safe for concurrent use.
type Ledger struct {
	terms     Terms
	reports   map[jobs.Digest]*report
	authors   map[jobs.AgentID]*author
	platforms map[platform]*platform
	rulings   map[uint64]ruling
	bundles   []bundle
	openBits  []uint64 // a bit for each bundle that has open units
	tally     tally
	hours     map[uint32]*HourSpend  // a part of the tally
	lost      map[uint64][]lostRun   // by unit, sorted; few have any
	lineages  map[end]record.Lineage // of entries that did not begin their unit; few did not
	cancelled bool
	sealed    bool
}

// bundle holds the entries of a bundle's units, sorted by compare: those of one unit lie together. A sorted
// slice instead of a map of units keeps a ledger of a million units small.
type bundle struct {
	entries []entry
	open    uint64 // how many of its units are open as far as records go
}

// entry is what one report says of one unit.
type entry struct {
	unit    uint64
	report  *report
	failure *jobs.Failure // nil: the unit succeeded
	times   jobs.Times
	outcome jobs.Digest
	attempt uint32
}

// report is what all entries of one report share.
type report struct {
	id       jobs.Digest
	author   *author
	platform *platform
	pack     jobs.Blob
	hour     *HourSpend // when it was signed
	lost     uint64     // microseconds
	overhead uint64
}

type author struct {
	id      jobs.AgentID
	owner   string
	revoked bool
}

// platform is what must be equal for outcomes to be comparable to the last bit.
type platform struct {
	runtime, system string
}

type ruling struct {
	sequence uint64
	id       jobs.Digest
	outcome  jobs.Digest
}

// tally counts units by what records say of them. It changes with each unit that changes, so that nobody has
// to walk over all units to show a job's progress.
type tally struct {
	units     [Conflict + 1]uint64
	differs   uint64
	usefulCPU uint64 // microseconds: in nanoseconds false reports could make it overflow
	cpu       uint64
}

// New returns the ledger of a shard of which nothing is known yet: all its units are open.
func New(terms Terms) *Ledger {
	terms.Bundle, terms.Quorum = max(terms.Bundle, 1), max(terms.Quorum, 1)
	l := &Ledger{
		terms:     terms,
		reports:   map[jobs.Digest]*report{},
		authors:   map[jobs.AgentID]*author{},
		platforms: map[platform]*platform{},
		rulings:   map[uint64]ruling{},
		hours:     map[uint32]*HourSpend{},
		lost:      map[uint64][]lostRun{},
		lineages:  map[end]record.Lineage{},
		bundles:   make([]bundle, terms.bundles()),
	}
	l.openBits = make([]uint64, (len(l.bundles)+wordBits-1)/wordBits)
	l.recount()
	return l
}

// wordBits is the number of bits in a word of Ledger.openBits.
const wordBits = 64

// Terms returns what the ledger was made with.
func (l *Ledger) Terms() Terms { return l.terms }

// AddReport adds a report that record.DecodeReport gave, its ID, and the owner named in its author's
// certificate; a machine without one is its own owner. It returns true if the report is new. A report of
// another shard, or about units that do not exist, is an error of kind jobs.Invalid and changes nothing.
func (l *Ledger) AddReport(id jobs.Digest, r *record.Report, owner string) (bool, error) {
	entries, err := l.entriesOf(r)
	if err != nil {
		return false, err
	}
	lost, err := l.lostOf(r)
	if err != nil {
		return false, err
	}
	by := l.author(r.Author, owner)
	if l.reports[id] != nil {
		return false, nil
	}
	added := l.addReport(report{
		id: id, author: by, platform: &platform{r.Runtime, r.Platform}, pack: r.Pack, hour: l.hour(r.Hour),
		lost: micros(r.Lost), overhead: micros(r.Overhead),
	})
	l.addLineages(added, r)
	l.insert(added, entries)
	l.lose(added, lost)
	return true, nil
}

// entriesOf checks a report against the shard and takes it apart.
func (l *Ledger) entriesOf(r *record.Report) ([]entry, error) {
	if r.Job != l.terms.Job || r.Shard != l.terms.Shard {
		return nil, jobs.Errorf(jobs.Invalid, "report about shard %d of job %s, expected shard %d of job %s",
			r.Shard, r.Job.Short(), l.terms.Shard, l.terms.Job.Short())
	}
	n := 0
	for i := range r.Bundles {
		n += len(r.Bundles[i].Units)
	}
	entries := make([]entry, 0, n)
	for i := range r.Bundles {
		b := &r.Bundles[i]
		want, known := l.terms.bundleIndex(b.Bundle)
		for j := range b.Units {
			u := &b.Units[j]
			if got, ok := l.terms.index(u.Unit); !ok || !known || got != want {
				return nil, jobs.Errorf(jobs.Invalid, "report about unit %d in bundle %d, which shard %d of job %s does not have",
					u.Unit, b.Bundle, r.Shard, r.Job.Short())
			}
			e := entry{unit: u.Unit, attempt: b.Attempt, outcome: u.Outcome, times: u.Times}
			if u.Failure.Failed() {
				failure := u.Failure
				e.failure = &failure
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// addLineages notes from where the units of a new report went on.
func (l *Ledger) addLineages(added *report, r *record.Report) {
	for _, b := range r.Bundles {
		for i := range b.Units {
			if u := &b.Units[i]; len(u.Lineage) > 0 {
				l.lineages[end{added, u.Unit, b.Attempt}] = u.Lineage
			}
		}
	}
}

// lostOf checks the runs without a result of a report against the shard.
func (l *Ledger) lostOf(r *record.Report) (map[uint64][]lostRun, error) {
	if len(r.LostRuns) == 0 {
		return nil, nil
	}
	runs := map[uint64][]lostRun{}
	for _, run := range r.LostRuns {
		if _, ok := l.terms.index(run.Unit); !ok {
			return nil, jobs.Errorf(jobs.Invalid, "report about a run of unit %d, which shard %d of job %s does not have",
				run.Unit, r.Shard, r.Job.Short())
		}
		runs[run.Unit] = append(runs[run.Unit], lostRun{
			attempt: run.Attempt, kept: micros(run.Kept), cpu: micros(run.CPU), lineage: run.Lineage,
		})
	}
	return runs, nil
}

// author returns the one author with an ID. An author whose certificates name two owners counts for the lower
// name: for one owner, and for the same one whatever came first. A machine that was given to another owner in
// the middle of a job may so reopen units with a quorum.
func (l *Ledger) author(id jobs.AgentID, owner string) *author {
	if owner == "" {
		owner = id.String()
	}
	a := l.authors[id]
	switch {
	case a == nil:
		a = &author{id: id, owner: owner}
		l.authors[id] = a
	case a.owner == "": // known by a revocation only
		a.owner = owner
	case owner < a.owner:
		a.owner = owner
		l.recount()
	}
	return a
}

// addReport takes over a new report. There is one platform of a kind.
func (l *Ledger) addReport(r report) *report {
	if known := l.platforms[*r.platform]; known != nil {
		r.platform = known
	}
	l.platforms[*r.platform] = r.platform
	l.reports[r.id] = &r
	r.account()
	return &r
}

// insert takes over the entries of a new report.
func (l *Ledger) insert(r *report, entries []entry) {
	for i := range entries {
		entries[i].report = r
	}
	slices.SortFunc(entries, compare)
	for len(entries) > 0 {
		i, _ := l.terms.index(entries[0].unit) // entriesOf has seen that it is there
		n := 1
		for n < len(entries) && l.inBundle(i, entries[n].unit) {
			n++
		}
		l.insertInto(i, entries[:n:n])
		entries = entries[n:]
	}
}

func (l *Ledger) inBundle(i, unit uint64) bool {
	j, _ := l.terms.index(unit)
	return i == j
}

// insertInto adds sorted entries to a bundle and counts anew the units that they are about.
func (l *Ledger) insertInto(i uint64, add []entry) {
	b := &l.bundles[i]
	for e := range byUnit(add) {
		l.count(i, b.of(e[0].unit), e[0].unit, -1)
	}
	last := len(b.entries)
	switch {
	case last == 0:
		b.entries = add // shares the report's one allocation
	case compare(b.entries[last-1], add[0]) < 0:
		b.entries = append(b.entries, add...)
	default:
		b.entries = append(b.entries, add...)
		slices.SortFunc(b.entries, compare)
	}
	for e := range byUnit(add) {
		l.count(i, b.of(e[0].unit), e[0].unit, +1)
		for j := range e {
			l.tally.cpu += micros(e[j].times.CPU)
		}
	}
}

// compare orders entries by (unit, attempt, author, report), which no two entries share: a report names a unit
// once in an attempt.
func compare(a, b entry) int {
	if c := cmp.Compare(a.unit, b.unit); c != 0 {
		return c
	}
	if c := cmp.Compare(a.attempt, b.attempt); c != 0 {
		return c
	}
	if c := a.report.author.id.Compare(b.report.author.id); c != 0 {
		return c
	}
	return a.report.id.Compare(b.report.id)
}

// of returns the entries of a unit.
func (b *bundle) of(unit uint64) []entry {
	byUnit := func(e entry, unit uint64) int { return cmp.Compare(e.unit, unit) }
	from, found := slices.BinarySearchFunc(b.entries, unit, byUnit)
	if !found {
		return nil
	}
	to := from + 1
	for to < len(b.entries) && b.entries[to].unit == unit {
		to++
	}
	return b.entries[from:to]
}

// byUnit iterates over sorted entries, those of one unit at a time.
func byUnit(entries []entry) func(yield func([]entry) bool) {
	return func(yield func([]entry) bool) {
		for len(entries) > 0 {
			n := 1
			for n < len(entries) && entries[n].unit == entries[0].unit {
				n++
			}
			if !yield(entries[:n]) {
				return
			}
			entries = entries[n:]
		}
	}
}

// count adds a unit to the tally, or takes it out: by is 1 or -1.
func (l *Ledger) count(i uint64, entries []entry, unit uint64, by int) {
	v := l.judge(entries, unit)
	n := uint64(by) // of unsigned numbers adding the complement of 1 is taking 1 away
	l.tally.units[v.status] += n
	if v.differs {
		l.tally.differs += n
	}
	l.account(entries, unit, &v, n)
	if v.status == Open {
		l.setOpen(i, l.bundles[i].open+n)
	}
}

func (l *Ledger) setOpen(i, n uint64) {
	l.bundles[i].open = n
	if bit := uint64(1) << (i % wordBits); n > 0 {
		l.openBits[i/wordBits] |= bit
	} else {
		l.openBits[i/wordBits] &^= bit
	}
}

// recount makes the tally from nothing, after something that may concern any unit.
func (l *Ledger) recount() {
	l.tally = tally{}
	l.tally.units[Open] = l.terms.Units
	for _, h := range l.hours {
		h.Spend = Spend{}
	}
	for _, r := range l.reports {
		r.account()
	}
	for unit := range l.lost { // as if nothing else were known of them
		l.account(nil, unit, &verdict{status: Open}, 1)
	}
	for i := range uint64(len(l.bundles)) {
		_, n := l.terms.bundleUnits(i)
		l.setOpen(i, n)
		for e := range byUnit(l.bundles[i].entries) {
			l.count(i, nil, e[0].unit, -1)
			l.count(i, e, e[0].unit, +1)
			for j := range e {
				l.tally.cpu += micros(e[j].times.CPU)
			}
		}
	}
}

func micros(d time.Duration) uint64 { return uint64(d / time.Microsecond) }
