package steward

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

func agent(n int) jobs.AgentID { return jobs.AgentID(jobs.DigestOf(fmt.Append(nil, "agent ", n))) }

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// table is a lender with its ledger and a clock, for tests of the core alone.
type table struct {
	t       tester
	m       *manifest.Manifest
	led     *ledger.Ledger
	l       *lender
	now     time.Time
	counter uint64
	others  bool
}

func newTable(t tester, units uint64, bundle uint32) *table {
	m := &manifest.Manifest{Units: units, Bundle: bundle, Quorum: 1, Retries: 2, Expires: epoch.Add(24 * time.Hour)}
	return &table{
		t: t, m: m, led: ledger.New(ledger.TermsOf(jobs.JobID{1}, m, 0)), l: newLender(m, 0, epoch, DefaultTTL), now: epoch, others: true,
	}
}

func (b *table) after(d time.Duration) *table {
	b.now = b.now.Add(d)
	return b
}

// ask is an exchange of an agent that holds these bundles and wants as many as it has slots.
func (b *table) ask(who int, slots uint32, held ...uint64) (lend, drop []Run) {
	b.t.Helper()
	lend, drop = b.l.exchange(Ask{Agent: agent(who), Held: runs(held...), Slots: slots, Others: b.others}, b.led, b.now)
	b.check()
	return lend, drop
}

// lends is ask, and fails unless exactly these bundles are lent and nothing is to be dropped.
func (b *table) lends(who int, slots uint32, held []uint64, want ...uint64) {
	b.t.Helper()
	lend, drop := b.ask(who, slots, held...)
	if got := bundles(lend); !slices.Equal(got, want) || len(drop) > 0 {
		b.t.Fatalf("agent %d is lent %v and drops %v, expected %v", who, got, bundles(drop), want)
	}
}

// check looks at what must hold after every call.
func (b *table) check() {
	b.t.Helper()
	lent := 0
	for id, who := range b.l.lessees {
		lent += len(who.bundles)
		for n := range who.bundles {
			if b.l.lent[n] != id {
				b.t.Fatalf("bundle %d is of %s and lent to %s", n, id.Short(), b.l.lent[n].Short())
			}
			if _, waits := b.l.waiting[n]; waits {
				b.t.Fatalf("bundle %d is lent and waits", n)
			}
		}
	}
	if lent != len(b.l.lent) {
		b.t.Fatalf("%d bundles are lent, lessees hold %d", len(b.l.lent), lent)
	}
	for n, ok := b.led.NextOpen(0, b.now); ok; n, ok = b.led.NextOpen(n+1, b.now) {
		_, lent := b.l.lent[n]
		if _, waits := b.l.waiting[n]; !lent && !waits && n < b.l.cursor {
			b.t.Fatalf("bundle %d is open, not lent, and would not be again", n)
		}
	}
}

// report adds a report about some units of a bundle, all of them where none is named.
func (b *table) report(who int, bundle uint64, failed bool, units ...uint64) {
	b.t.Helper()
	if len(units) == 0 {
		first, n := b.m.BundleUnits(bundle)
		for u := first; u < first+n; u++ {
			units = append(units, u)
		}
	}
	b.counter++
	br := record.BundleReport{Bundle: bundle, Attempt: b.led.Attempt(bundle)}
	for _, u := range units {
		r := record.UnitReport{Unit: u, Outcome: jobs.DigestOf([]byte("outcome"))}
		if failed {
			r.Failure = jobs.Failure{Kind: jobs.FailureTrap}
		}
		br.Units = append(br.Units, r)
	}
	r := &record.Report{
		Job: b.led.Terms().Job, Shard: b.led.Terms().Shard, Author: agent(who), Counter: b.counter,
		Runtime: "r", Platform: "p", Bundles: []record.BundleReport{br},
	}
	if _, err := b.led.AddReport(jobs.DigestOf(fmt.Append(nil, b.counter)), r, ""); err != nil {
		b.t.Fatal(err)
	}
}

func (b *table) done(who int, bundles ...uint64) {
	b.t.Helper()
	for _, n := range bundles {
		b.report(who, n, false)
	}
}

func runs(bundles ...uint64) (all []Run) {
	for _, b := range bundles {
		all = append(all, Run{First: b, Count: 1})
	}
	return all
}

func bundles(runs []Run) (all []uint64) {
	for _, r := range runs {
		for b := r.First; b-r.First < uint64(r.Count); b++ {
			all = append(all, b)
		}
	}
	return all
}

func held(bundles ...uint64) []uint64 { return bundles }

func TestNewBundlesInOrder(t *testing.T) {
	b := newTable(t, 10, 1)
	b.lends(1, 2, nil, 0, 1)
	b.lends(2, 2, nil, 2, 3)
	b.lends(1, 2, held(0, 1), 4, 5)
	b.lends(1, 0, held(0, 1, 4, 5))
	b.done(1, 0, 1)
	b.lends(1, 1, held(4, 5), 6)
}

func TestGivenBackIsLentAgain(t *testing.T) {
	b := newTable(t, 10, 1)
	b.lends(1, 4, nil, 0, 1, 2, 3)
	b.after(time.Second).lends(1, 0, held(0, 3))
	b.after(time.Second).lends(1, 0, held(3))
	b.lends(2, 4, nil, 1, 2, 0, 4) // what waits longest first
	b.lends(1, 1, held(3), 5)
}

func TestLeaseEnds(t *testing.T) {
	b := newTable(t, 4, 1)
	b.lends(1, 2, nil, 0, 1)
	b.after(DefaultTTL-1).lends(2, 2, nil, 2, 3)
	b.lends(2, 2, held(2, 3))
	b.after(1).lends(2, 2, held(2, 3), 0, 1)
	if _, drop := b.ask(1, 1, 0, 1); !slices.Equal(bundles(drop), held(0, 1)) {
		t.Errorf("whoever comes back late drops %v", drop)
	}
	for range 10 { // whoever speaks keeps its lease
		b.after(DefaultTTL-1).lends(2, 1, held(0, 1, 2, 3))
	}
}

func TestLostAgent(t *testing.T) {
	b := newTable(t, 4, 1)
	b.lends(1, 2, nil, 0, 1)
	b.l.lost(agent(1), b.now)
	b.l.lost(agent(7), b.now)
	b.lends(2, 4, nil, 0, 1, 2, 3)
}

func TestWhoeverFailedGetsItLast(t *testing.T) {
	b := newTable(t, 2, 1)
	b.lends(1, 2, nil, 0, 1)
	b.report(1, 0, true)
	b.lends(1, 1, held(1))
	b.after(otherFirst-1).lends(1, 1, held(1))
	b.after(1).lends(1, 1, held(1), 0)
	b.report(1, 0, true)
	b.lends(1, 1, held(1))
	b.lends(2, 1, nil, 0)
	b.report(2, 0, true)
	if b.lends(2, 1, nil); b.led.Counts(b.now).Failed != 1 {
		t.Error("three attempts failed, and the unit has not")
	}
	b.others = false
	b.report(1, 1, true)
	lend, _ := b.ask(1, 1)
	if len(lend) != 1 || lend[0].First != 1 || lend[0].Attempt != 1 {
		t.Errorf("where no other agent works it gets %+v", lend)
	}
}

// A steward that took over knows from the records who failed what.
func TestWhoeverFailedUnderAnotherSteward(t *testing.T) {
	b := newTable(t, 3, 1)
	b.report(1, 0, true)
	b.lends(1, 1, nil, 1)
	b.lends(2, 1, nil, 0)
}

// Only the units that are open are run again, as the next attempt.
func TestOpenUnitsOnly(t *testing.T) {
	b := newTable(t, 8, 4)
	b.lends(1, 8, nil, 0, 1)
	b.report(1, 0, false, 0, 2)
	b.report(1, 0, true, 3)
	b.report(1, 1, true, 4, 5, 6, 7)
	b.lends(1, 8, nil)
	lend, _ := b.ask(2, 8)
	want := []Run{{First: 0, Count: 1, Attempt: 1, Units: []uint64{1, 3}}, {First: 1, Count: 1, Attempt: 1}}
	if fmt.Sprint(lend) != fmt.Sprint(want) {
		t.Errorf("lent %+v, expected %+v", lend, want)
	}
}

func TestAcceptedMeanwhileIsDropped(t *testing.T) {
	b := newTable(t, 4, 1)
	b.lends(1, 2, nil, 0, 1)
	b.done(2, 0) // had it from another steward
	if lend, drop := b.ask(1, 1, 0, 1); !slices.Equal(bundles(drop), held(0)) || !slices.Equal(bundles(lend), held(2)) {
		t.Errorf("drops %v and is lent %v", drop, lend)
	}
	b.lends(1, 1, held(1, 2), 3)
	b.led.Cancel()
	if lend, drop := b.ask(1, 9, 1, 2, 3); len(bundles(drop)) != 3 || len(lend) > 0 || len(b.l.lent) > 0 {
		t.Errorf("of a cancelled job: drops %v and is lent %v", drop, lend)
	}
}

// A new steward lends nothing while it listens, and takes what agents hold for lent.
func TestAdoption(t *testing.T) {
	b := newTable(t, 6, 1)
	b.l = newLender(b.m, 0, b.now.Add(DefaultPeriod), DefaultTTL)
	b.lends(1, 2, held(1, 4))
	b.after(DefaultPeriod-1).lends(2, 2, nil)
	if _, drop := b.ask(2, 2, 4, 5); !slices.Equal(bundles(drop), held(4)) {
		t.Errorf("of two that hold bundle 4 the second drops %v", drop)
	}
	b.after(1).lends(2, 9, held(5), 0, 2, 3)
	b.lends(1, 9, held(1, 4))
}

// A revocation opens bundles that were done.
func TestOpenedAgain(t *testing.T) {
	b := newTable(t, 4, 1)
	b.lends(1, 4, nil, 0, 1, 2, 3)
	b.done(1, 0, 1, 2)
	b.lends(1, 0, held(3))
	b.led.Revoke(agent(1))
	b.lends(2, 9, nil, 0, 1, 2)
}

func TestLeaseSizes(t *testing.T) {
	for _, c := range []struct {
		name     string
		units    uint64
		bundle   uint32
		others   int // lessees besides
		slots    uint32
		unitTime time.Duration
		want     int
	}{
		{"nothing measured: the slots", 1000, 1, 0, 3, 0, 3},
		{"five seconds a slot", 1000, 1, 0, 2, 100 * time.Millisecond, 100},
		{"long units: the slots", 1000, 1, 0, 2, time.Hour, 2},
		{"half of what is there", 100, 1, 0, 2, time.Millisecond, 50},
		{"half of an equal share", 100, 1, 3, 2, time.Millisecond, 12},
		{"at least the slots", 100, 1, 3, 40, time.Millisecond, 40},
		{"no more than there is", 5, 1, 0, 9, 0, 5},
		{"the most", manifest.ShardBundles, 1, 0, 9, time.Microsecond, MaxLease},
		{"the most slots", manifest.ShardBundles, 1, 0, math.MaxUint32, 0, MaxLease},
		{"whole bundles", 1000, 10, 0, 4, 0, 1},
		{"five seconds of bundles", 1000, 10, 0, 1, 100 * time.Millisecond, 5},
		{"half of an equal share of bundles", 200, 10, 1, 2, time.Millisecond, 5},
		{"the last, short bundle", 5, 10, 0, 1, time.Second, 1},
		{"nothing wanted", 1000, 1, 0, 0, time.Millisecond, 0},
	} {
		b := newTable(t, c.units, c.bundle)
		for i := range c.others {
			b.ask(100+i, 0)
		}
		lend, _ := b.l.exchange(Ask{Agent: agent(1), Slots: c.slots, UnitTime: c.unitTime}, b.led, b.now)
		if got := len(bundles(lend)); got != c.want {
			t.Errorf("%s: lent %d bundles, expected %d", c.name, got, c.want)
		}
		b.check()
	}
	b := newTable(t, 100, 1)
	b.ask(1, 60)
	if lend, _ := b.l.exchange(Ask{Agent: agent(2), Slots: 1, UnitTime: time.Millisecond}, b.led, b.now); len(bundles(lend)) != 10 {
		t.Errorf("of 40 that are not lent one of two is lent %d, expected 10", len(bundles(lend)))
	}
}

// The bundles of a lease that go together are one run.
func TestRuns(t *testing.T) {
	b := newTable(t, 9, 2)
	b.report(3, 1, true)
	lend, _ := b.ask(1, 99)
	want := []Run{{First: 0, Count: 1}, {First: 1, Count: 1, Attempt: 1}, {First: 2, Count: 3}}
	if fmt.Sprint(lend) != fmt.Sprint(want) {
		t.Errorf("lent %+v, expected %+v", lend, want)
	}
}

// Whatever an agent says that it holds, only open bundles of the shard are taken for lent, and it costs little:
// neither time nor memory for the units of the bundles.
func TestHostileHeld(t *testing.T) {
	b := newTable(t, 4000*10_000, 10_000)
	all := []Run{
		{First: math.MaxUint64 - 2, Count: 8},
		{First: 3999, Count: 8},
		{First: 1 << 63, Count: 1},
		{First: 2, Count: 4, Attempt: 9},
		{First: 2, Count: 4},
		{First: 0, Count: 0},
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, drop := b.l.exchange(Ask{Agent: agent(1), Held: all}, b.led, b.now)
	if n := len(b.l.lent); n != 7 || len(drop) != 3+7+1 { // 0, 1, 2 to 5 and 3999 are in the shard
		t.Errorf("%d bundles are taken for lent, and %d to be dropped: %v", n, len(drop), drop)
	}
	b.check()
	for i := range 50 {
		b.l.exchange(Ask{Agent: agent(1), Held: []Run{{Count: maxHeld}}}, b.led, b.now)
		b.l.exchange(Ask{Agent: agent(i)}, b.led, b.now)
		b.l.exchange(Ask{Agent: agent(1)}, b.led, b.now)
	}
	runtime.ReadMemStats(&after)
	if mib := (after.TotalAlloc - before.TotalAlloc) >> 20; mib > 256 {
		t.Errorf("hostile agents cost %d MiB", mib)
	}
	if n := len(b.l.waiting); n != 4000 {
		t.Errorf("%d bundles wait", n)
	}
	b.check()
}
