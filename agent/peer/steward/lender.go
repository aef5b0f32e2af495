package steward

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"idlegrid/agent/peer/failpoint"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
)

const (
	// leaseWork is how much work of short units one slot gets at once.
	leaseWork = 5 * time.Second
	// MaxLease bounds the bundles of a shard that are lent to one agent.
	MaxLease = 4096
	// leaseMargin is how much longer than its units may run a bundle is lent at least: for what the lessee was
	// lent before it, for its owner's use of the PC, and for the way of its report.
	leaseMargin = 10 * time.Minute
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
	ttl     time.Duration // how long leases outlive a last word
	opens   time.Time     // no lending before
	claims  time.Time     // until then agents may name what others lent them: a lease outlives a last word by ttl
	cursor  uint64        // bundles from here on were never lent by this lender
	waiting map[uint64]wait
	lent    map[uint64]jobs.AgentID
	lessees map[jobs.AgentID]*lessee
	sole    bool // nobody lent any of it before this lender

	learner
	woke   time.Time // when others were last woken for what waits
	waking bool      // they will be
}

type lessee struct {
	seen    time.Time
	bundles map[uint64]time.Time // since when they are lent
}

// wait is how a bundle waits that is not new.
type wait struct {
	since time.Time
	from  jobs.AgentID // to whom it was lent last; zero: to nobody
	lent  time.Time    // since when it was lent to that agent
}

func newLender(m *manifest.Manifest, shard uint32, opens time.Time, ttl time.Duration) *lender {
	first, _ := m.ShardRange(shard)
	return &lender{
		m: m, ttl: ttl, opens: opens, claims: opens.Add(ttl), cursor: first,
		waiting: map[uint64]wait{}, lent: map[uint64]jobs.AgentID{}, lessees: map[jobs.AgentID]*lessee{},
		learner: learner{heard: map[jobs.AgentID]time.Time{}},
	}
}

// exchange takes what an agent holds and lends it more. It returns what to run and what to drop.
func (l *lender) exchange(a Ask, led *ledger.Ledger, now time.Time) (lend, drop []Run) {
	l.expire(now)
	who := l.lessees[a.Agent]
	if who == nil {
		who = &lessee{bundles: map[uint64]time.Time{}}
		l.lessees[a.Agent] = who
	}
	who.seen = now
	claimed, drop := l.settle(a, who, led, now)
	maps.DeleteFunc(l.waiting, func(b uint64, _ wait) bool { return !isOpen(led, b, now) })
	if a.Slots > 0 && l.wait(now) <= 0 {
		lend = l.lend(a, who, claimed, led, now)
	}
	return lend, drop
}

// settle makes the lessee's bundles those that it holds and may hold. The others that it claims, and nobody
// else was lent, it may go on with until somebody is: they are lent to others first.
func (l *lender) settle(a Ask, who *lessee, led *ledger.Ledger, now time.Time) (claimed map[uint64]bool, drop []Run) {
	claimed = map[uint64]bool{}
	for _, r := range a.Held {
		for b := r.First; b-r.First < uint64(r.Count); b++ {
			other, lent := l.lent[b]
			if lent && other != a.Agent || !isOpen(led, b, now) {
				drop = append(drop, Run{First: b, Count: 1})
				continue
			}
			if since, ok := l.mayClaim(b, a.Agent, now); !lent && ok && len(who.bundles) < MaxLease {
				l.take(b, a.Agent, who, since)
			}
			claimed[b] = true
		}
	}
	for b, since := range who.bundles {
		if !claimed[b] || l.overdue(b, since, now) {
			l.release(b, who, a.Agent, now)
		}
	}
	return claimed, drop
}

// mayClaim reports whether an agent that was not lent a bundle may say that it was, and since when: by another
// steward, or by this one before it restarted or lost sight of the agent.
func (l *lender) mayClaim(b uint64, id jobs.AgentID, now time.Time) (since time.Time, ok bool) {
	if w, waits := l.waiting[b]; waits && w.from == id {
		return w.lent, !l.overdue(b, w.lent, now)
	}
	return now, now.Before(l.claims)
}

// overdue reports whether a bundle was lent for so long that its lessee cannot be at work on it: twice as long
// as its units take at most one after the other, since what a lessee has in hand is a few seconds of work or a
// unit for each slot.
func (l *lender) overdue(b uint64, since, now time.Time) bool {
	_, n := l.m.BundleUnits(b)
	return now.Sub(since) > 2*time.Duration(n)*l.m.Timeout+leaseMargin
}

// isOpen reports whether a bundle has open units. Unlike a list of these it costs next to nothing, whatever
// number an agent names.
func isOpen(led *ledger.Ledger, b uint64, now time.Time) bool {
	next, ok := led.NextOpen(b, now)
	return ok && next == b
}

func (l *lender) take(b uint64, id jobs.AgentID, who *lessee, since time.Time) {
	delete(l.waiting, b)
	l.lent[b] = id
	who.bundles[b] = since
}

// release ends the lease of a bundle. The next exchange finds out whether it is open still.
func (l *lender) release(b uint64, who *lessee, id jobs.AgentID, now time.Time) {
	if failpoint.Planted("steward.lease") { // what is lent counts as done
		delete(who.bundles, b)
		return
	}
	l.waiting[b] = wait{since: now, from: id, lent: who.bundles[b]}
	delete(who.bundles, b)
	delete(l.lent, b)
}

// expire ends the leases of lessees that were silent for ttl.
func (l *lender) expire(now time.Time) {
	for id, who := range l.lessees {
		if now.Sub(who.seen) >= l.ttl {
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
		l.release(b, who, id, now)
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

// lend lends what waits, the longest first, then what is new, and nothing that the agent claims to hold.
func (l *lender) lend(a Ask, who *lessee, claimed map[uint64]bool, led *ledger.Ledger, now time.Time) (lend []Run) {
	want := min(l.size(a, led, now), MaxLease-len(who.bundles))
	offer := func(b uint64) {
		if claimed[b] || a.Others && now.Sub(l.waiting[b].since) < otherFirst && l.isForOthers(b, a.Agent, led, now) {
			return
		}
		l.take(b, a.Agent, who, now)
		lend = appendRun(lend, l.m, b, led.Attempt(b), led.OpenUnits(b, now))
		want--
	}
	offerNew := func(b uint64) {
		_, lent := l.lent[b]
		if _, waits := l.waiting[b]; !lent && !waits {
			l.waiting[b] = wait{since: now}
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

// isForOthers reports whether a bundle that waits did not get done by an agent before.
func (l *lender) isForOthers(b uint64, id jobs.AgentID, led *ledger.Ledger, now time.Time) bool {
	w := l.waiting[b]
	return w.from == id && l.overdue(b, w.lent, now) || slices.Contains(led.FailedBy(b), id)
}

// longestFirst returns the bundles that wait, those first that wait longest.
func (l *lender) longestFirst() []uint64 {
	return slices.SortedFunc(maps.Keys(l.waiting), func(a, b uint64) int {
		return cmp.Or(l.waiting[a].since.Compare(l.waiting[b].since), cmp.Compare(a, b))
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
