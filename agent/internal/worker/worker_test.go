package worker

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// desk is a worker whose goroutine is the test: events run when the test says so.
type desk struct {
	*Worker
	now time.Time
	s   *shard
}

func newDesk(units uint64, size uint32) *desk {
	m := &manifest.Manifest{Units: units, Bundle: size, Submitter: jobs.KeyID{1}, Expires: time.Now().Add(time.Hour)}
	d := &desk{now: time.Now(), Worker: New(Options{
		Slots: 2, Self: jobs.AgentID{9}, Log: slog.New(slog.DiscardHandler), Runner: stuck{},
		Members: func() []peer.Member { return nil }, Disk: func() error { return nil }, Runnable: func(jobs.JobID) error { return nil },
		Room: func() int64 { return math.MaxInt64 }, Ledger: func(jobs.ShardID, func(*ledger.Ledger)) error { return nil },
	})}
	id := jobs.ShardID{Job: jobs.JobID{7}}
	d.s = &shard{id: id, job: records.Job{ID: id.Job, Manifest: m}, bundles: map[uint64]*bundle{}, answered: d.now}
	d.shards[id] = d.s
	d.programs[id.Job] = &program{ready: &executor.Program{}}
	return d
}

// stuck runs units that end with their context only.
type stuck struct{}

func (stuck) Prepare(context.Context, *executor.Program) error { return nil }

func (stuck) Allow(int) error { return nil }

func (stuck) Run(ctx context.Context, _ *executor.Program, _ *executor.Unit) (executor.Result, error) {
	<-ctx.Done()
	return executor.Result{}, context.Cause(ctx)
}

// kind is a steward that has nothing.
type kind struct{}

func (kind) Local(*gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
	return &gridv1.ExchangeReply{}, nil
}

// TestP5AnswersAgeWhileAPCSleeps: how old a steward's last answer is goes by the wall clock, and no unit starts once it
// is older than a lease lives.
func TestP5AnswersAgeWhileAPCSleeps(t *testing.T) {
	d := newDesk(10, 1)
	d.o.Steward, d.o.Lease = kind{}, steward.Lease{}.OrDefault()
	d.o.Members = func() []peer.Member {
		return []peer.Member{{ID: d.o.Self, Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true}}
	}
	d.exchange(t.Context(), d.s, true, d.now)
	(<-d.events)(d.now)
	if d.s.answered.IsZero() || d.s.answered != d.now.Round(0) {
		t.Errorf("answered %v, expected the wall clock's %v", d.s.answered, d.now.Round(0))
	}
	for later, want := range map[time.Duration]bool{
		0: true, d.o.Lease.TTL: true, d.o.Lease.TTL + 1: false, 10 * time.Minute: false,
		-time.Second: true, -time.Hour: false, // the clock was set back
	} {
		if got := d.mayStart(d.s, d.now.Add(later).Round(0)); got != want {
			t.Errorf("%s after the answer a unit may start: %v", later, got)
		}
	}
}

func (d *desk) lend(first uint64, count uint32, units ...uint64) int {
	return d.lent(d.s, &gridv1.Run{First: first, Count: count, Units: units}, maxHeld)
}

// finishUnits ends queued units with outcomes of so many bytes, and returns what CPU time they took.
func (d *desk) finishUnits(n, size int) (took time.Duration) {
	for range min(n, len(d.s.queue)) {
		t := d.s.queue[0]
		d.s.queue = d.s.queue[1:]
		d.ended(t.bundle, record.UnitReport{Unit: t.unit, Times: jobs.Times{CPU: time.Second}}, make([]byte, size), d.now)
		took += time.Second
	}
	return took
}

// TestLentAgain: units that this agent's own records say are done are not run again, whoever lends them, and a
// bundle of which nothing is left is not held.
func TestLentAgain(t *testing.T) {
	d := newDesk(12, 3)
	l := ledger.New(ledger.TermsOf(d.s.id.Job, d.s.job.Manifest, 0))
	d.o.Ledger = func(_ jobs.ShardID, f func(*ledger.Ledger)) error {
		f(l)
		return nil
	}
	report := &record.Report{Job: d.s.id.Job, Author: d.o.Self}
	for _, u := range []uint64{0, 1, 2, 4} {
		report.Bundles = append(report.Bundles, record.BundleReport{
			Bundle: u / 3, Units: []record.UnitReport{{Unit: u, Outcome: jobs.Digest{1}}},
		})
	}
	if _, err := l.AddReport(jobs.Digest{1}, report, ""); err != nil {
		t.Fatal(err)
	}
	d.answered(d.s, &gridv1.ExchangeReply{Open: 9, Lend: []*gridv1.Run{{First: 0, Count: 2}}}, true, d.now)
	var queued []uint64
	for _, q := range d.s.queue {
		queued = append(queued, q.unit)
	}
	if !slices.Equal(queued, []uint64{3, 5}) || len(d.s.bundles) != 1 || d.s.bundles[1].open != 2 {
		t.Errorf("of bundles 0 and 1 units %v wait, and %d bundles are held", queued, len(d.s.bundles))
	}
	d.giveBack(d.s, errDropped)
	d.answered(d.s, &gridv1.ExchangeReply{Open: 9, Lend: []*gridv1.Run{{First: 0, Count: 1}}}, true, d.now)
	if len(d.s.queue) > 0 || len(d.s.bundles) > 0 || !d.s.askAt.After(d.now) {
		t.Errorf("a bundle that is done was taken: %d units, asking again at %v", len(d.s.queue), d.s.askAt)
	}
}

// full is a steward that has open units, and lends none now.
type full struct{}

func (full) Local(*gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
	return &gridv1.ExchangeReply{Open: 10}, nil
}

// TestP3AJobThatWaited: that nothing of a job came while nobody asked for it, since an older one had the slots, is not
// its steward's fault. Passing over it would have two lend the same units.
func TestP3AJobThatWaited(t *testing.T) {
	d := newDesk(10, 1)
	d.o.Steward, d.o.Lease = full{}, steward.Lease{}.OrDefault()
	d.o.Members = func() []peer.Member {
		return []peer.Member{{ID: d.o.Self, Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true}}
	}
	ask := func(at time.Time) (passedOver bool) {
		d.exchange(t.Context(), d.s, true, at)
		(<-d.events)(at)
		return len(d.s.skip) > 0
	}
	if ask(d.now) || ask(d.now.Add(3*time.Hour)) {
		t.Error("a steward is passed over though nobody asked it for anything")
	}
	at := d.now.Add(3 * time.Hour)
	for at.Before(d.now.Add(5*time.Hour)) && !ask(at) {
		at = at.Add(askEvery)
	}
	if took := at.Sub(d.now) - 3*time.Hour; took < barrenMargin || took > d.s.longest()+barrenMargin+time.Minute {
		t.Errorf("one that lends nothing of what is open is passed over after %s", took)
	}
}

// TestDoubtfulStewards: who says for ever that nothing is open, or of whose units nothing ends, is passed over.
func TestDoubtfulStewards(t *testing.T) {
	d := newDesk(10, 1)
	a, b := jobs.AgentID{1}, jobs.AgentID{2}
	passedOver := func(id jobs.AgentID) bool { return !d.s.skip[id].IsZero() }
	d.s.spokenTo(a, d.now, d.now)
	for i := range emptyBeforeNext {
		if passedOver(a) {
			t.Fatalf("passed over after %d answers", i)
		}
		d.answered(d.s, &gridv1.ExchangeReply{}, true, d.now)
	}
	if until := d.s.skip[a]; until.Sub(d.now) != doubtFor {
		t.Errorf("nothing open, again and again: passed over until %v", until)
	}
	d.s.spokenTo(b, d.now, d.now)
	bound := d.s.longest() + barrenMargin
	for i := range 3 {
		if d.doubt(d.s, &gridv1.ExchangeReply{Open: uint64(9 - i)}, d.now.Add(time.Duration(i)*(bound+1))); passedOver(b) {
			t.Fatal("passed over although units end")
		}
	}
	last := d.now.Add(2 * (bound + 1))
	if d.doubt(d.s, &gridv1.ExchangeReply{Open: 7}, last.Add(bound)); passedOver(b) {
		t.Error("passed over too soon")
	}
	if d.doubt(d.s, &gridv1.ExchangeReply{Open: 7}, last.Add(bound+1)); !passedOver(b) {
		t.Error("not passed over although nothing ends")
	}
}

// TestDoubtCountsOnlyTimeToRun: nothing ends while nothing can run here, for whatever reason. That is not the steward's
// fault, and the time after it counts as that before.
func TestDoubtCountsOnlyTimeToRun(t *testing.T) {
	for name, hinder := range map[string]func(*desk) (over func()){
		"a full disk":        func(d *desk) func() { d.unfit = true; return func() { d.unfit = false } },
		"outcomes that wait": func(d *desk) func() { d.backlog = maxBacklog; return func() { d.backlog = 0 } },
		"a program that is not here": func(d *desk) func() {
			d.s.queue = append(d.s.queue, task{})
			return func() { d.s.queue = nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(10, 1)
			bound, at, steward := d.s.longest()+barrenMargin, d.now, jobs.AgentID{1}
			d.s.spokenTo(steward, at, at)
			hear := func(after time.Duration) (passedOver bool) {
				at = at.Add(after)
				d.doubt(d.s, &gridv1.ExchangeReply{Open: 7}, at)
				return !d.s.skip[steward].IsZero()
			}
			if hear(0) || hear(bound/2) {
				t.Fatal("passed over at once")
			}
			over := hinder(d)
			if hear(10 * bound) {
				t.Fatal("passed over for a time in which nothing could run")
			}
			over()
			if hear(bound / 2) {
				t.Error("passed over too soon")
			}
			if !hear(time.Minute) {
				t.Error("never passed over")
			}
		})
	}
}

func TestLentIsChecked(t *testing.T) {
	for name, run := range map[string]*gridv1.Run{
		"beyond the shard":     {First: 4, Count: 7},
		"far beyond":           {First: 1 << 60, Count: 1},
		"a count that wraps":   {First: math.MaxUint64, Count: 2},
		"a huge count":         {First: 0, Count: math.MaxUint32},
		"an impossible number": {First: 0, Count: 1, Attempt: record.MaxAttempt + 1},
		"units of elsewhere":   {First: 0, Count: 1, Units: []uint64{55, 3, 1 << 62}},
	} {
		d := newDesk(20, 2)
		if n := d.lent(d.s, run, maxHeld); n != 0 || len(d.s.queue) != 0 || len(d.s.bundles) != 0 {
			t.Errorf("%s: took %d bundles, %d units", name, n, len(d.s.queue))
		}
	}
	d := newDesk(20, 4)
	if n := d.lend(1, 1, 6, 5, 6, 7, 7); n != 1 || len(d.s.queue) != 2 {
		t.Errorf("units out of order: %d bundles, queue %v", n, d.s.queue)
	}
	if n := d.lend(0, 2); n != 1 || len(d.s.queue) != 6 {
		t.Errorf("a bundle lent twice: %d bundles, %d units", n, len(d.s.queue))
	}
}

func TestHostileReplyIsBounded(t *testing.T) {
	d := newDesk(manifest.ShardBundles*1000, 1000)
	reply := &gridv1.ExchangeReply{}
	for range 1000 {
		reply.Lend = append(reply.Lend, &gridv1.Run{First: 0, Count: manifest.ShardBundles})
		reply.Drop = append(reply.Drop, &gridv1.Run{First: 1 << 40, Count: math.MaxUint32})
	}
	d.answered(d.s, reply, true, d.now)
	if len(d.s.queue) > maxQueue+1000 || len(d.s.bundles) > maxHeld {
		t.Errorf("took %d units in %d bundles", len(d.s.queue), len(d.s.bundles))
	}
}

func TestSettled(t *testing.T) {
	a, b, c := jobs.AgentID{1}, jobs.AgentID{2}, jobs.AgentID{3}
	for name, test := range map[string]struct {
		answers        map[jobs.AgentID]bool
		released, over bool
	}{
		"nobody answered":               {nil, false, false},
		"one keeps it":                  {map[jobs.AgentID]bool{a: true}, false, false},
		"two, the lender not":           {map[jobs.AgentID]bool{b: true, c: true}, false, false},
		"two with the lender":           {map[jobs.AgentID]bool{a: true, c: true}, true, false},
		"two, the lender refuses":       {map[jobs.AgentID]bool{a: false, b: true, c: true}, true, true},
		"all refuse for good":           {map[jobs.AgentID]bool{a: false, b: false, c: false}, true, true},
		"all keep it":                   {map[jobs.AgentID]bool{a: true, b: true, c: true}, true, true},
		"two keep it, one is gone":      {map[jobs.AgentID]bool{a: true, {8}: true}, false, false},
		"one refuses, one silent, lost": {map[jobs.AgentID]bool{a: false, b: true}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(4, 4)
			d.s.lender = a
			d.lend(0, 1)
			d.finishUnits(4, 10)
			p := &pending{shard: d.s.id, parts: d.take(), answers: test.answers}
			stewards := []peer.Member{{ID: a}, {ID: b}, {ID: c}}
			if over := d.settled(p, stewards, 2, d.now); over != test.over {
				t.Errorf("over: %t", over)
			}
			if released := len(d.s.bundles) == 0; released != test.released {
				t.Errorf("released: %t", released)
			}
			if test.released && !d.settled(p, stewards, 2, d.now.Add(offerOn)) {
				t.Error("a durable report is offered for ever")
			}
		})
	}
	d := newDesk(4, 4)
	p := &pending{shard: d.s.id, answers: map[jobs.AgentID]bool{}}
	if d.settled(p, nil, 1, d.now) || !p.until.IsZero() {
		t.Error("without any steward a report is durable")
	}
}

// skipsWhoIsSilent holds that a worker turns to the next steward after two exchanges that failed, whatever place
// in the order it has by then, and comes back to the first.
func (d *desk) skipsWhoIsSilent(t *testing.T) {
	t.Helper()
	a, b, c := peer.Member{ID: jobs.AgentID{1}}, peer.Member{ID: jobs.AgentID{2}}, peer.Member{ID: jobs.AgentID{3}}
	d.s.failures, d.s.skip = 0, nil
	expect := func(when string, want peer.Member, stewards ...peer.Member) {
		t.Helper()
		if got := d.s.choose(stewards, d.now); got.ID != want.ID {
			t.Errorf("%s it asks steward %d", when, got.ID[0])
		}
	}
	fail := func(m peer.Member) {
		d.s.lender = m.ID
		d.unanswered(t.Context(), d.s, errors.New("test"), d.now)
	}
	fail(a)
	expect("after one failure", a, a, b, c)
	fail(a)
	expect("after two failures", b, a, b, c)
	expect("when the silent one is no steward any more", b, b, c)
	expect("when it is the second", c, c, a, b)
	fail(b)
	fail(b)
	expect("when two are silent", c, a, b, c)
	fail(c)
	fail(c)
	expect("when all are silent", a, a, b, c)
	fail(a)
	fail(a)
	d.now = d.now.Add(d.o.Lease.TTL + 1)
	expect("after a while", a, a, b, c)
}

// TestSilentStewards holds that nobody who answers for good or not at all makes the worker spin.
func TestSilentStewards(t *testing.T) {
	d := newDesk(4, 4)
	d.silent[jobs.AgentID{5}] = d.now.Add(-time.Hour)
	d.lend(0, 1)
	d.s.changed = true
	d.refreshAt = d.now.Add(time.Second)
	if wait := d.step(t.Context(), d.now); wait < minAsk {
		t.Errorf("looks again after %s", wait)
	}
	for range 40 {
		d.unanswered(t.Context(), d.s, errors.New("test"), d.now)
	}
	if wait := d.s.retryAt.Sub(d.now); wait != askEvery {
		t.Errorf("after 40 failures it waits %s", wait)
	}
	d.skipsWhoIsSilent(t)
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	failures := d.s.failures
	if d.unanswered(stopped, d.s, errors.New("test"), d.now); d.s.failures != failures {
		t.Error("the end of the worker counts as a steward's failure")
	}
}

func TestHungry(t *testing.T) {
	run1 := func(d *desk, unit, since time.Duration) {
		r := &run{program: &program{unit: unit}, since: d.now.Add(-since)}
		d.running[r] = struct{}{}
	}
	for name, test := range map[string]struct {
		set    func(*desk)
		hungry bool
	}{
		"idle":                  {func(*desk) {}, true},
		"one slot free":         {func(d *desk) { run1(d, time.Minute, 0) }, true},
		"units of unknown time": {func(d *desk) { run1(d, 0, 0); run1(d, 0, 0) }, false},
		"long units":            {func(d *desk) { run1(d, time.Hour, 0); run1(d, time.Hour, time.Minute) }, false},
		"a long unit ends soon": {func(d *desk) { run1(d, time.Hour, 0); run1(d, time.Hour, time.Hour-lowWater/2) }, true},
		"short units, no queue": {func(d *desk) { run1(d, 100*time.Millisecond, 0); run1(d, 100*time.Millisecond, 0) }, true},
		"too much is not kept":  {func(d *desk) { d.backlog = maxBacklog }, false},
		"a steward is asked":    {func(d *desk) { d.s.asking, d.s.wanting, d.s.askedAt = true, true, d.now }, false},
		"a steward hangs":       {func(d *desk) { d.s.asking, d.s.wanting, d.s.askedAt = true, true, d.now.Add(-patience) }, true},
		"a lease is renewed":    {func(d *desk) { d.s.asking, d.s.askedAt = true, d.now }, true},
		"a queue cannot start":  {func(d *desk) { d.lend(0, 4); d.s.answered = d.now.Add(-2 * steward.DefaultTTL) }, true},
		"a program still loads": {func(d *desk) { d.lend(0, 4); d.programs[d.s.id.Job] = &program{loading: true} }, true},
		"a queue that will last": {func(d *desk) {
			d.lend(0, 4)
			run1(d, time.Second, 0)
			run1(d, time.Second, 0)
			d.programs[d.s.id.Job].unit = time.Second
		}, false},
	} {
		d := newDesk(10, 1)
		test.set(d)
		if got := d.hungry(d.now); got != test.hungry {
			t.Errorf("%s: hungry %t", name, got)
		}
	}
}

func TestUsageIsBoundedAndForgotten(t *testing.T) {
	s := newState()
	now := time.Now()
	id := func(i int) jobs.KeyID { return jobs.KeyID{byte(i), byte(i >> 8), 1} }
	for i := range 2 * maxUsage {
		s.spent(id(i), time.Duration(i+1)*time.Second, now)
	}
	if len(s.usage) > maxUsage {
		t.Errorf("%d submitters are remembered", len(s.usage))
	}
	if got := s.usage[id(2*maxUsage-1)].value(now.Add(usageHalfLife)); math.Abs(got-maxUsage) > 1 {
		t.Errorf("after a half-life %f CPU seconds count", got)
	}
}

// TestFaultRests holds that a wake does not cut short the rest after a fault of this agent's own.
func TestFaultRests(t *testing.T) {
	d := newDesk(10, 1)
	d.lend(0, 4)
	d.fault(d.s.id.Job, "test", errors.New("disk"), d.now)
	d.woken(d.s.id.Job, d.now)
	if due := d.workDue(d.s, d.now); due.Before(d.now.Add(restAfterFault)) {
		t.Errorf("asks again after %s", due.Sub(d.now))
	}
	if len(d.s.bundles) != 0 || len(d.s.queue) != 0 || !d.s.changed {
		t.Error("the bundles were not given back")
	}
	if d.programs[d.s.id.Job].startable() {
		t.Error("the program's blobs are not verified again")
	}
}

// TestPauseAtTheLimit: an agent that holds so much of a shard that it is lent no more asks again in a moment, when
// less of it waits to be kept, and not with the next exchange.
func TestPauseAtTheLimit(t *testing.T) {
	nothing := &gridv1.ExchangeReply{Open: 10_000, AgainMs: 15_000}
	s := &shard{bundles: map[uint64]*bundle{}}
	if got := s.pause(nothing); got != askEvery {
		t.Errorf("with nothing held: asks again after %s, expected %s", got, askEvery)
	}
	for n := range uint64(steward.MaxLease) {
		s.bundles[n] = &bundle{}
	}
	if got := s.pause(nothing); got != tellAfter {
		t.Errorf("with all held that may be: asks again after %s, expected %s", got, tellAfter)
	}
}
