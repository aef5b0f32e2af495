package worker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// freezer is a Runner whose units end with their context only, and are frozen as a test says.
type freezer struct {
	mu      sync.Mutex
	allowed []int
	tell    map[string]func(bool)
	began   chan string
	err     error

	frozenMost []uint64 // bytes that frozen units may have
}

func newFreezer() *freezer {
	return &freezer{tell: map[string]func(bool){}, began: make(chan string, 10)}
}

func (*freezer) Prepare(context.Context, *executor.Program) error { return nil }

func (f *freezer) Run(ctx context.Context, _ *executor.Program, u *executor.Unit) (executor.Result, error) {
	f.mu.Lock()
	f.tell[u.Args[0]] = u.Frozen
	f.mu.Unlock()
	u.Frozen(false)
	f.began <- u.Args[0]
	<-ctx.Done()
	return executor.Result{}, context.Cause(ctx)
}

// Allow freezes the units from the n-th on, by their numbers.
func (f *freezer) Allow(n int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.allowed = append(f.allowed, n)
	for unit, tell := range f.tell {
		tell(unit >= string(rune('0'+n)))
	}
	return f.err
}

// newOffice returns a desk whose two slots run units 0 and 1 of six, in bundles of so many.
func newOffice(t *testing.T, size uint32) (*desk, *freezer) {
	t.Helper()
	f := newFreezer()
	d := newDesk(6, size)
	d.o.Runner = f
	d.s.job.Manifest.Args, d.s.job.Manifest.Name = []string{"${unit}"}, "squares"
	d.lend(0, 6/size)
	d.startUnits(t.Context(), d.now)
	for range d.running {
		<-f.began
	}
	if len(d.running) != 2 {
		t.Fatalf("%d units run", len(d.running))
	}
	t.Cleanup(func() {
		d.giveBack(d.s, errStopping)
		for range d.running {
			<-d.events
		}
	})
	return d, f
}

func (d *desk) mustOffer(t *testing.T, o Offer) {
	t.Helper()
	if err := d.SetOffer(o); err != nil {
		t.Fatal(err)
	}
	d.heed(d.now)
}

// going returns the units in slots that go on, and those that do not.
func (d *desk) going() (going, frozen []uint64) {
	for r := range d.running {
		if u := r.current.Load().unit; r.frozen.Load() {
			frozen = append(frozen, u)
		} else {
			going = append(going, u)
		}
	}
	slices.Sort(going)
	slices.Sort(frozen)
	return going, frozen
}

// TestP9Offer: the Runner is told in the caller's goroutine, whatever the worker does; units are held on, none starts or
// is asked for beyond what may go on, and all that comes back when the owner goes.
func TestP9Offer(t *testing.T) {
	d, f := newOffice(t, 1)
	d.mustOffer(t, Offer{Slots: 1})
	if going, frozen := d.going(); !slices.Equal(going, []uint64{0}) || !slices.Equal(frozen, []uint64{1}) {
		t.Errorf("of one slot %v go on and %v do not", going, frozen)
	}
	d.mustOffer(t, Offer{})
	d.startUnits(t.Context(), d.now)
	if _, frozen := d.going(); len(frozen) != 2 || len(d.s.queue) != 4 || len(d.s.held()) != 1 || d.s.held()[0].Count != 6 {
		t.Errorf("of no slot %v are frozen, %d wait, and %v is held", frozen, len(d.s.queue), d.s.held())
	}
	if d.hungry(d.now) || d.couldRun(d.s, d.now) {
		t.Error("it asks for work that it has no slot for")
	}
	if s := d.status(d.now); s.Slots != 2 || s.Offered != 0 || !s.Running[0].Frozen || len(s.Idle) > 0 {
		t.Errorf("status %+v", s)
	}
	d.mustOffer(t, Offer{Slots: 2})
	if going, _ := d.going(); len(going) != 2 || !d.couldRun(d.s, d.now) {
		t.Errorf("then %v go on", going)
	}
	if !slices.Equal(f.allowed, []int{1, 0, 2}) {
		t.Errorf("allowed were %v", f.allowed)
	}
	f.err = errors.New("no such cgroup")
	if err := d.SetOffer(Offer{}); !errors.Is(err, f.err) {
		t.Errorf("SetOffer returned %v", err)
	}
}

// TestGiveBackWhatDoesNotGoOn: with what has ended of it, unless a unit of the same bundle goes on.
func TestGiveBackWhatDoesNotGoOn(t *testing.T) {
	for name, test := range map[string]struct {
		size     uint32
		slots    int
		goOn     int // units
		open     int // bundles that are held and not finished
		finished int // parts
	}{
		"one of two":                    {1, 1, 1, 4, 1},
		"all":                           {1, 0, 0, 0, 1},
		"a bundle of which one goes on": {2, 1, 2, 3, 0},
		"a bundle":                      {3, 0, 0, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := newOffice(t, test.size)
			last := d.s.queue[len(d.s.queue)-1]
			d.s.queue = d.s.queue[:len(d.s.queue)-1]
			d.ended(last.bundle, record.UnitReport{Unit: last.unit}, make([]byte, 10), d.now)
			d.mustOffer(t, Offer{Slots: test.slots, GiveBack: true})
			goOn, open := 0, 0
			for r := range d.running {
				if !r.current.Load().bundle.dropped {
					goOn++
				}
			}
			for _, b := range d.s.bundles {
				if b.open > 0 {
					open++
				}
			}
			if goOn != test.goOn || open != test.open || len(d.finished) != test.finished || d.backlog != 10 {
				t.Errorf("%d units run on, %d bundles are held, %d parts are finished with %d bytes; expected %+v",
					goOn, open, len(d.finished), d.backlog, test)
			}
			if test.slots == 0 && !d.s.changed {
				t.Error("the steward is not told")
			}
		})
	}
}

// TestRefusal: a job that is refused goes back, running or not, and is not asked for.
func TestRefusal(t *testing.T) {
	d, _ := newOffice(t, 1)
	refused := errors.New("not from alice")
	d.mustOffer(t, Offer{Slots: 2, Takes: func(*manifest.Manifest) error { return refused }})
	if len(d.s.bundles) > 0 || len(d.s.queue) > 0 || d.workDue(d.s, d.now).Before(d.now.Add(time.Hour)) {
		t.Errorf("%d bundles are held, %d units wait, work is due %s", len(d.s.bundles), len(d.s.queue), d.workDue(d.s, d.now))
	}
	if why := d.whyIdle(d.s, d.now); !strings.Contains(why, "job squares is refused here: not from alice") {
		t.Errorf("slots are free since %s", why)
	}
	d.mustOffer(t, Offer{Slots: 2})
	if d.s.refusal != nil || d.workDue(d.s, d.now).After(d.now.Add(time.Hour)) {
		t.Errorf("refused still: %v", d.s.refusal)
	}
}

// TestFrozenIsNotStalled: a unit that is frozen for hours is not one that is stuck, also just after it.
func TestFrozenIsNotStalled(t *testing.T) {
	d, _ := newOffice(t, 1)
	for r := range d.running {
		r.watch.used(time.Second)
	}
	d.mustOffer(t, Offer{})
	later := d.now.Add(3 * time.Hour)
	if d.stopStalled(later); len(d.s.bundles) != 6 {
		t.Errorf("%d bundles are held after hours", len(d.s.bundles))
	}
	d.mustOffer(t, Offer{Slots: 2})
	if d.stopStalled(later); len(d.s.bundles) != 6 {
		t.Errorf("%d bundles are held when they go on", len(d.s.bundles))
	}
}

// TestDroppedForMemory: what the Runner ended for its memory goes back, and the job does not rest here.
func TestDroppedForMemory(t *testing.T) {
	d, _ := newOffice(t, 1)
	for r := range d.running {
		if r.current.Load().unit == 1 {
			r.cancel(executor.ErrDropped)
		}
	}
	d.oneEvent(t)
	if d.s.bundles[1] != nil || len(d.s.bundles) != 5 || !d.s.restUntil.IsZero() || !d.s.changed {
		t.Errorf("%d bundles are held, the job rests until %s", len(d.s.bundles), d.s.restUntil)
	}
}

// oneEvent takes one event.
func (d *desk) oneEvent(t *testing.T) {
	t.Helper()
	select {
	case e := <-d.events:
		e(d.now)
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happens")
	}
}

// slow is a network over which nothing comes.
type slow struct {
	Blobs
	asked chan struct{}
}

func (s slow) Fetch(ctx context.Context, _ blobs.Claim, _ jobs.Blob, _ []peer.Member) error {
	s.asked <- struct{}{}
	<-ctx.Done()
	return ctx.Err()
}

// TestNothingIsFetchedWithoutSlots: what is on its way is given up, begins anew later, and is no fault of this machine.
func TestNothingIsFetchedWithoutSlots(t *testing.T) {
	d := newDesk(6, 1)
	net := slow{asked: make(chan struct{}, 10)}
	d.o.Blobs = net
	var err error
	if d.o.Dir, err = blobs.OpenDir(t.TempDir(), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.o.Dir.Close() })
	m := d.s.job.Manifest
	m.Runtime, m.Program, m.SuccessCodes = manifest.RuntimeWasm, jobs.Blob{Digest: jobs.Digest{1}, Size: 8}, []uint32{0}
	if _, err := m.Identity(); err != nil {
		t.Fatal(err)
	}
	p := &program{}
	d.programs[d.s.id.Job] = p
	d.lend(0, 6)
	for range 2 {
		d.startUnits(t.Context(), d.now)
		<-net.asked
		d.mustOffer(t, Offer{})
		d.oneEvent(t)
		if p.loading || len(d.s.bundles) != 6 || !d.s.restUntil.IsZero() {
			t.Errorf("loading %v, %d bundles are held, the job rests until %s", p.loading, len(d.s.bundles), d.s.restUntil)
		}
		d.startUnits(t.Context(), d.now)
		if p.loading {
			t.Error("it is fetched without a slot")
		}
		d.mustOffer(t, Offer{Slots: 2})
	}
}
