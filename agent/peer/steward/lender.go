package steward

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
)

const (
	// leaseWork is how much work of short units one slot gets at once.
	leaseWork = 5 * time.Second
	// MaxLease bounds the bundles lent in one exchange.
	MaxLease = 4096
	// otherFirst is how long a bundle that an agent failed waits for another agent to take it.
	otherFirst = 10 * time.Second
)

// Run is a run of consecutive bundles of one attempt.
type Run struct {
	First   uint64
	Count   uint32
	Attempt uint32
	Units   []uint64 // with Count 1: the units to run; empty means all of the bundle
}

// Ask is an agent's side of an exchange.
type Ask struct {
	Agent    jobs.AgentID
	Held     []Run
	Slots    uint32
	UnitTime time.Duration // measured, 0: not known yet
	Others   bool          // other agents in the pool could run units too
}

// lender lends one shard. It is not safe for concurrent use. A bundle is lent, waiting, or neither.
type lender struct {
	m       *manifest.Manifest
	opens   time.Time            // no lending before
	cursor  uint64               // bundles from here on were never lent by this lender
	waiting map[uint64]time.Time // since when a bundle that is not new waits to be lent
	lent    map[uint64]jobs.AgentID
	lessees map[jobs.AgentID]*lessee

	woke   time.Time // when others were last woken for what waits
	waking bool      // they will be
}

type lessee struct {
	seen    time.Time
	bundles map[uint64]struct{}
}

func newLender(m *manifest.Manifest, shard uint32, opens time.Time) *lender {
	first, _ := m.ShardRange(shard)
	return &lender{
		m: m, opens: opens, cursor: first,
		waiting: map[uint64]time.Time{}, lent: map[uint64]jobs.AgentID{}, lessees: map[jobs.AgentID]*lessee{},
	}
}

// exchange takes what an agent holds and lends it more. It returns what to run and what to drop.
func (l *lender) exchange(a Ask, led *ledger.Ledger, now time.Time) (lend, drop []Run) {
	l.expire(now)
	who := l.lessees[a.Agent]
	if who == nil {
		who = &lessee{bundles: map[uint64]struct{}{}}
		l.lessees[a.Agent] = who
	}
	who.seen = now
	drop = l.settle(a, who, led, now)
	maps.DeleteFunc(l.waiting, func(b uint64, _ time.Time) bool { return !isOpen(led, b, now) })
	if a.Slots > 0 && !now.Before(l.opens) {
		lend = l.lend(a, who, led, now)
	}
	return lend, drop
}

// settle makes the lessee's bundles those that it holds.
func (l *lender) settle(a Ask, who *lessee, led *ledger.Ledger, now time.Time) (drop []Run) {
	held := map[uint64]struct{}{}
	for _, r := range a.Held {
		for b := r.First; b-r.First < uint64(r.Count); b++ {
			other, lent := l.lent[b]
			switch {
			case lent && other != a.Agent || !isOpen(led, b, now):
				drop = append(drop, Run{First: b, Count: 1})
				continue
			case !lent: // lent by another steward, or by this one before it restarted
				l.take(b, a.Agent, who)
			}
			held[b] = struct{}{}
		}
	}
	for b := range who.bundles {
		if _, ok := held[b]; !ok {
			l.release(b, who, now)
		}
	}
	return drop
}

// isOpen reports whether a bundle has open units. Unlike a list of these it costs next to nothing, whatever
// number an agent names.
func isOpen(led *ledger.Ledger, b uint64, now time.Time) bool {
	next, ok := led.NextOpen(b, now)
	return ok && next == b
}

func (l *lender) take(b uint64, id jobs.AgentID, who *lessee) {
	delete(l.waiting, b)
	l.lent[b] = id
	who.bundles[b] = struct{}{}
}

// release ends the lease of a bundle. The next exchange finds out whether it is open still.
func (l *lender) release(b uint64, who *lessee, now time.Time) {
	delete(who.bundles, b)
	delete(l.lent, b)
	l.waiting[b] = now
}

// expire ends the leases of lessees that were silent for TTL.
func (l *lender) expire(now time.Time) {
	for id, who := range l.lessees {
		if now.Sub(who.seen) >= TTL {
			l.lost(id, now)
		}
	}
}

// lost ends the leases of one agent.
func (l *lender) lost(id jobs.AgentID, now time.Time) {
	who := l.lessees[id]
	if who == nil {
		return
	}
	delete(l.lessees, id)
	for b := range who.bundles {
		l.release(b, who, now)
	}
}

// holders returns the agents that hold leases, in ascending order.
func (l *lender) holders() []jobs.AgentID {
	var ids []jobs.AgentID
	for id, who := range l.lessees {
		if len(who.bundles) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, jobs.AgentID.Compare)
	return ids
}

// lend lends what waits, the longest first, then what is new.
func (l *lender) lend(a Ask, who *lessee, led *ledger.Ledger, now time.Time) (lend []Run) {
	want := l.size(a, led, now)
	offer := func(b uint64) {
		if a.Others && now.Sub(l.waiting[b]) < otherFirst && slices.Contains(led.FailedBy(b), a.Agent) {
			return
		}
		l.take(b, a.Agent, who)
		lend = appendRun(lend, l.m, b, led.Attempt(b), led.OpenUnits(b, now))
		want--
	}
	offerNew := func(b uint64) {
		_, lent := l.lent[b]
		if _, waits := l.waiting[b]; !lent && !waits {
			l.waiting[b] = now
			offer(b)
		}
	}
	for _, b := range l.longestFirst() {
		if want > 0 {
			offer(b)
		}
	}
	for want > 0 {
		b, ok := led.NextOpen(l.cursor, now)
		if !ok {
			break
		}
		l.cursor = b + 1
		offerNew(b)
	}
	// There is little left, so all of it is looked at again: a revocation may have opened bundles that were done.
	for b, ok := led.NextOpen(0, now); ok && want > 0; b, ok = led.NextOpen(b+1, now) {
		offerNew(b)
	}
	return lend
}

// longestFirst returns the bundles that wait, those first that wait longest.
func (l *lender) longestFirst() []uint64 {
	return slices.SortedFunc(maps.Keys(l.waiting), func(a, b uint64) int {
		return cmp.Or(l.waiting[a].Compare(l.waiting[b]), cmp.Compare(a, b))
	})
}

// size is how many bundles to lend: leaseWork for each slot, but never more than half of an equal share of
// what is not lent yet, so that the last units end at about the same time everywhere.
func (l *lender) size(a Ask, led *ledger.Ledger, now time.Time) int {
	slots, bundle := uint64(min(a.Slots, MaxLease)), uint64(l.m.Bundle)
	units := slots
	if a.UnitTime > 0 {
		units = slots * max(1, uint64(leaseWork/a.UnitTime))
	}
	open := led.Counts(now).Open
	free := open - min(open, uint64(len(l.lent))*bundle)
	share := free / (2 * uint64(len(l.lessees)))
	units = max(slots, min(units, share))
	return int(min(MaxLease, (units+bundle-1)/bundle))
}

// appendRun adds a bundle to the last run if it goes on there.
func appendRun(runs []Run, m *manifest.Manifest, b uint64, attempt uint32, open []uint64) []Run {
	_, n := m.BundleUnits(b)
	if uint64(len(open)) < n {
		return append(runs, Run{First: b, Count: 1, Attempt: attempt, Units: open})
	}
	if len(runs) > 0 {
		last := &runs[len(runs)-1]
		if last.First+uint64(last.Count) == b && last.Attempt == attempt && last.Units == nil {
			last.Count++
			return runs
		}
	}
	return append(runs, Run{First: b, Count: 1, Attempt: attempt})
}
