package worker

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// gated is a Runner whose units each wait for a word, unless their context ends.
type gated struct{ began, word chan string }

func (gated) Prepare(context.Context, *executor.Program) error { return nil }

func (gated) Allow(int) error { return nil }

func (g gated) Run(ctx context.Context, _ *executor.Program, u *executor.Unit) (executor.Result, error) {
	if ctx.Err() != nil {
		return executor.Result{}, context.Cause(ctx)
	}
	g.began <- u.Args[0]
	select {
	case word := <-g.word:
		if word != "" {
			return executor.Result{}, errors.New(word)
		}
		return executor.Result{Times: jobs.Times{Wall: time.Millisecond}}, nil
	case <-ctx.Done():
		return executor.Result{}, context.Cause(ctx)
	}
}

// newSlice returns a desk with one slot that runs the first six of twelve bundles of a unit each.
func newSlice(t *testing.T) (*desk, gated) {
	t.Helper()
	g := gated{began: make(chan string), word: make(chan string)}
	d := newDesk(12, 1)
	d.o.Slots, d.o.Runner = 1, g
	d.s.job.Manifest.Args = []string{"${unit}"}
	d.programs[d.s.id.Job].unit = time.Millisecond
	d.lend(0, 12)
	d.startUnits(t.Context(), d.now)
	if len(d.running) != 1 || len(d.s.queue) != 6 {
		t.Fatalf("%d run, %d units wait, expected that a slot takes half of the twelve", len(d.running), len(d.s.queue))
	}
	return d, g
}

func (d *desk) waiting() (units []uint64) {
	for _, t := range d.s.queue {
		units = append(units, t.unit)
	}
	return units
}

// event takes what a slot ends with, and joins it.
func (d *desk) event() {
	e := <-d.events
	d.tasks.Wait()
	e(d.now)
}

func TestTogether(t *testing.T) {
	d := newDesk(1, 1)
	for _, test := range []struct {
		queued int
		unit   time.Duration
		want   int
	}{
		{1000, 0, 1},
		{1000, time.Microsecond, sliceUnits},
		{1000, time.Millisecond, 10},
		{1000, 6 * time.Millisecond, 1},
		{1000, time.Hour, 1},
		{20, time.Microsecond, 5},
		{1, time.Microsecond, 1},
	} {
		if got := d.together(test.queued, &program{unit: test.unit}); got != test.want {
			t.Errorf("%d units of %s: %d at once, expected %d", test.queued, test.unit, got, test.want)
		}
	}
}

func TestSlotRunsShortUnitsTogether(t *testing.T) {
	d, g := newSlice(t)
	for _, unit := range []string{"0", "1", "2", "3", "4", "5"} {
		if got := <-g.began; got != unit {
			t.Errorf("unit %s began, expected %s", got, unit)
		}
		g.word <- ""
	}
	d.event()
	if len(d.finished) != 6 || len(d.running) != 0 || !slices.Equal(d.waiting(), []uint64{6, 7, 8, 9, 10, 11}) {
		t.Errorf("%d are finished, %v wait", len(d.finished), d.waiting())
	}
}

// TestLongUnitLetsOthersGo holds that units do not wait behind one that turns out to be long.
func TestLongUnitLetsOthersGo(t *testing.T) {
	d, g := newSlice(t)
	<-g.began
	d.takeBack(d.now.Add(sliceLong - 1))
	if len(d.s.queue) != 6 {
		t.Error("units are taken back at once")
	}
	if wait := d.nextLook(d.now); wait > sliceLong {
		t.Errorf("looks again after %s", wait)
	}
	d.takeBack(d.now.Add(sliceLong))
	if want := []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}; !slices.Equal(d.waiting(), want) {
		t.Errorf("%v wait, expected %v", d.waiting(), want)
	}
	g.word <- ""
	d.event()
	if len(d.finished) != 1 || len(d.s.queue) != 11 {
		t.Errorf("%d are finished, %d wait", len(d.finished), len(d.s.queue))
	}
}

// TestDropWithinASlice holds that what a steward takes back does not begin, and that the others of its slot do.
func TestDropWithinASlice(t *testing.T) {
	d, g := newSlice(t)
	<-g.began
	d.drop(d.s, 2)
	if want := []uint64{1, 3, 4, 5, 6, 7, 8, 9, 10, 11}; !slices.Equal(d.waiting(), want) {
		t.Errorf("%v wait, expected %v", d.waiting(), want)
	}
	d.drop(d.s, 0) // it runs
	d.event()
	if len(d.finished) != 0 || len(d.s.queue) != 10 || len(d.s.bundles) != 10 {
		t.Errorf("%d are finished, %d wait, %d bundles are held", len(d.finished), len(d.s.queue), len(d.s.bundles))
	}
}

// TestStopThatComesLate holds that a unit that was not to be stopped, but was, runs again.
func TestStopThatComesLate(t *testing.T) {
	d, g := newSlice(t)
	<-g.began
	for r := range d.running {
		r.cancel(errDropped)
	}
	d.event()
	if len(d.finished) != 0 || len(d.s.queue) != 12 || d.s.queue[0].unit != 0 {
		t.Errorf("%d are finished, %v wait", len(d.finished), d.waiting())
	}
}

func TestFaultWithinASlice(t *testing.T) {
	d, g := newSlice(t)
	<-g.began
	g.word <- ""
	<-g.began
	g.word <- "disk"
	d.event()
	if len(d.finished) != 1 || len(d.s.queue) != 0 || len(d.s.bundles) != 1 || !d.s.restUntil.After(d.now) {
		t.Errorf("%d are finished, %d wait, %d bundles are held", len(d.finished), len(d.s.queue), len(d.s.bundles))
	}
}

// TestFlushAtTheEnd holds that the last outcomes do not wait for others.
func TestFlushAtTheEnd(t *testing.T) {
	d := newDesk(3, 1)
	d.lend(0, 2)
	d.finishUnits(1, 1)
	if d.flushDue(d.now) || !d.flushDue(d.now.Add(flushAfter)) {
		t.Error("with units at hand, what is finished does not wait for them")
	}
	d.finishUnits(1, 1)
	if d.s.asking, d.s.wanting = true, true; d.flushDue(d.now) {
		t.Error("does not wait for what a steward may lend")
	}
	if d.s.asking = false; !d.flushDue(d.now) {
		t.Error("waits for nothing")
	}
}

// TestWakeIsFollowedAtOnce holds that an agent that asked in vain asks again when it is woken, at once and then not
// too often, also where the wake overtakes the answer.
func TestWakeIsFollowedAtOnce(t *testing.T) {
	d := newDesk(10, 1)
	job, reply := d.s.id.Job, &gridv1.ExchangeReply{Open: 10, AgainMs: 15000}
	d.s.askedAt = d.now
	d.answered(d.s, reply, true, d.now)
	asksAt := func(what string, want time.Duration) {
		t.Helper()
		if got := d.workDue(d.s, d.now).Sub(d.now); got != want {
			t.Errorf("%s: asks after %s, expected %s", what, got, want)
		}
	}
	asksAt("in vain", askEvery)
	d.now = d.now.Add(100 * time.Millisecond)
	d.woken(job, d.now)
	asksAt("a wake", 0)

	d.s.askedAt, d.s.asking = d.now, true
	d.now = d.now.Add(time.Millisecond)
	d.s.asking = false
	d.answered(d.s, reply, true, d.now)
	d.woken(job, d.now)
	asksAt("another wake", wakeEvery-time.Millisecond)
	d.woken(job, d.now)
	asksAt("a third one", wakeEvery-time.Millisecond)

	d.now = d.now.Add(2 * wakeEvery)
	d.s.askedAt, d.s.asking = d.now, true
	d.now = d.now.Add(30 * time.Millisecond)
	d.woken(job, d.now)
	d.s.asking = false
	d.answered(d.s, reply, true, d.now)
	asksAt("a wake before the answer", 0)
}
