package steward

import (
	"slices"
	"testing"
	"time"

	"idlegrid/jobs/manifest"
)

// claim is an exchange of agent 1, which says that it holds the first so many bundles.
func (b *table) claim(count uint32) (drop []Run) {
	b.t.Helper()
	lend, drop := b.l.exchange(Ask{Agent: agent(1), Held: []Run{{Count: count}}, Others: true}, b.led, b.now)
	if b.check(); len(lend) > 0 {
		b.t.Fatalf("no slots, and is lent %v", lend)
	}
	return drop
}

// Whoever claims a whole shard gets a part of it, and not for ever.
func TestClaimOfAShard(t *testing.T) {
	b := newTable(t, manifest.ShardBundles, 1)
	b.m.Timeout = time.Hour
	b.claim(maxHeld)
	if n := len(b.l.lent); n != MaxLease {
		t.Fatalf("%d bundles are taken for lent to one agent, expected %d", n, MaxLease)
	}
	for range 4 * 60 * 2 {
		b.after(DefaultPeriod).claim(maxHeld)
	}
	b.after(DefaultPeriod).claim(maxHeld)
	if n := len(b.l.lent); n != MaxLease {
		t.Fatalf("%d bundles are lent after two hours, expected %d still", n, MaxLease)
	}
	b.after(leaseMargin).claim(maxHeld)
	if n := len(b.l.lent); n != 0 {
		t.Fatalf("%d bundles are lent after all units' time is over", n)
	}
	lend, _ := b.ask(2, MaxLease)
	if n := len(bundles(lend)); n != MaxLease {
		t.Errorf("another agent is lent %d bundles", n)
	}
	if drop := b.claim(maxHeld); len(drop) != MaxLease {
		t.Errorf("whoever claims them drops %d, expected %d", len(drop), MaxLease)
	}
}

// Slots that nobody has get no more than claims do.
func TestOneAgentIsLentMaxLease(t *testing.T) {
	b := newTable(t, manifest.ShardBundles, 1)
	lend, _ := b.ask(1, MaxLease-5)
	lend, _ = b.ask(1, MaxLease, bundles(lend)...)
	if n := len(bundles(lend)); n != 5 {
		t.Errorf("lent %d bundles more, expected 5", n)
	}
}

// When no lease of another steward can live on, a claim keeps nothing from others. An honest agent that is
// late goes on until one of them takes it.
func TestLateClaim(t *testing.T) {
	b := newTable(t, 4, 1)
	b.after(DefaultTTL-1).lends(1, 0, held(0))
	b.after(1).lends(2, 0, held(1, 2))
	b.lends(2, 1, held(1, 2), 3)
	b.lends(3, 2, nil, 1, 2)
	if _, drop := b.ask(2, 0, 1, 2, 3); !slices.Equal(bundles(drop), held(1, 2)) {
		t.Errorf("drops %v", drop)
	}
	b.lends(1, 0, held(0))
	// Whoever was silent for DefaultTTL gets back what nobody took.
	b.after(DefaultTTL).lends(2, 0, held(3))
	b.lends(3, 4, held(1, 2), 0)
}

// A lease that ended goes to others first, if there are any, and one of long units does not end.
func TestOverdueLease(t *testing.T) {
	b := newTable(t, 2, 2)
	b.m.Timeout = manifest.MaxTimeout
	b.lends(1, 1, nil, 0)
	for range 20 * 60 { // each of its units may run for a day
		b.after(DefaultTTL-1).lends(1, 1, held(0))
		b.lends(2, 1, nil)
	}
	b.m.Timeout = time.Minute
	b.lends(1, 0, held(0))
	b.lends(1, 1, nil)
	b.after(otherFirst-1).lends(1, 1, nil)
	b.lends(2, 1, nil, 0)
}
