package steward

import (
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

// lender lends one shard. It is not safe for concurrent use.
type lender struct {
	m       *manifest.Manifest
	opens   time.Time // no lending before
	woke    time.Time // when others were last woken for what came back
	cursor  uint64    // bundles from here on were never lent by this lender
	back    []returned
	lent    map[uint64]jobs.AgentID
	lessees map[jobs.AgentID]*lessee
}

type returned struct {
	bundle uint64
	at     time.Time
}

type lessee struct {
	seen    time.Time
	bundles map[uint64]struct{}
}

func newLender(m *manifest.Manifest, shard uint32, opens time.Time) *lender {
	first, _ := m.ShardRange(shard)
	return &lender{
		m: m, opens: opens, cursor: first,
		lent: map[uint64]jobs.AgentID{}, lessees: map[jobs.AgentID]*lessee{},
	}
}

// exchange takes what an agent holds and lends it more. It returns what to run and what to drop.
func (l *lender) exchange(a Ask, led *ledger.Ledger, ttl time.Duration, now time.Time) (lend, drop []Run) {
	l.expire(ttl, now)
	who := l.lessees[a.Agent]
	if who == nil {
		who = &lessee{bundles: map[uint64]struct{}{}}
		l.lessees[a.Agent] = who
	}
	who.seen = now
	drop = l.settle(a, who, led, now)
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
			held[b] = struct{}{}
			other, lent := l.lent[b]
			switch {
			case lent && other == a.Agent:
			case lent || len(led.OpenUnits(b, now)) == 0:
				drop = append(drop, Run{First: b, Count: 1})
			default: // lent by another steward, or by this one before it restarted
				l.take(b, a.Agent, who)
			}
		}
	}
	for _, b := range sortedBundles(who.bundles) {
		if _, ok := held[b]; ok {
			continue
		}
		if len(led.OpenUnits(b, now)) > 0 {
			l.release(b, who, now)
		} else {
			l.forget(b, who)
		}
	}
	return drop
}

func (l *lender) take(b uint64, id jobs.AgentID, who *lessee) {
	l.lent[b] = id
	who.bundles[b] = struct{}{}
}

func (l *lender) forget(b uint64, who *lessee) {
	delete(who.bundles, b)
	delete(l.lent, b)
}

// release ends the lease of a bundle that may be open still; that is asked again before it is lent.
func (l *lender) release(b uint64, who *lessee, now time.Time) {
	l.forget(b, who)
	l.back = append(l.back, returned{b, now})
}

// expire ends the leases of lessees that were silent for ttl.
func (l *lender) expire(ttl time.Duration, now time.Time) {
	for id, who := range l.lessees {
		if now.Sub(who.seen) >= ttl {
			l.lost(id, now)
		}
	}
}

// lost ends the leases of one agent and reports whether it had any.
func (l *lender) lost(id jobs.AgentID, now time.Time) bool {
	who := l.lessees[id]
	if who == nil {
		return false
	}
	delete(l.lessees, id)
	had := len(who.bundles) > 0
	for _, b := range sortedBundles(who.bundles) {
		l.release(b, who, now)
	}
	return had
}

func (l *lender) lend(a Ask, who *lessee, led *ledger.Ledger, now time.Time) (lend []Run) {
	want := l.size(a, led, now)
	give := func(b uint64, open []uint64) {
		l.take(b, a.Agent, who)
		lend = appendRun(lend, l.m, b, led.Attempt(b), open)
		want--
	}
	keep := l.back[:0]
	for i, r := range l.back {
		if want == 0 {
			keep = append(keep, l.back[i:]...)
			break
		}
		open := led.OpenUnits(r.bundle, now)
		if _, lent := l.lent[r.bundle]; lent || len(open) == 0 {
			continue
		}
		if a.Others && now.Sub(r.at) < otherFirst && slices.Contains(led.FailedBy(r.bundle), a.Agent) {
			keep = append(keep, r)
			continue
		}
		give(r.bundle, open)
	}
	l.back = keep
	for want > 0 {
		b, ok := led.NextOpen(l.cursor, now)
		if !ok {
			break
		}
		l.cursor = b + 1
		if _, lent := l.lent[b]; !lent {
			give(b, led.OpenUnits(b, now))
		}
	}
	if want > 0 {
		l.rescan(led, now)
	}
	return lend
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

// rescan finds bundles that are open and neither lent nor waiting, such as those that a revocation opened
// again. It runs only when there was less to lend than wanted.
func (l *lender) rescan(led *ledger.Ledger, now time.Time) {
	if led.Counts(now).Open == 0 {
		return
	}
	waiting := map[uint64]bool{}
	for _, r := range l.back {
		waiting[r.bundle] = true
	}
	for b, ok := led.NextOpen(0, now); ok && b < l.cursor; b, ok = led.NextOpen(b+1, now) {
		if _, lent := l.lent[b]; !lent && !waiting[b] {
			l.back = append(l.back, returned{b, now})
		}
	}
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

func sortedBundles(set map[uint64]struct{}) []uint64 {
	out := make([]uint64, 0, len(set))
	for b := range set {
		out = append(out, b)
	}
	slices.Sort(out)
	return out
}
