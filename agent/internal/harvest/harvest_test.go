package harvest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/jobs"
)

// fakeSignals is a PC whose owner the test plays.
type fakeSignals struct {
	changed chan struct{}

	mu       sync.Mutex // guards everything below
	input    time.Time
	observed int
	waited   signals.Waited
	blind    bool // nobody tells what others waited for
	asked    int  // for that
}

func (f *fakeSignals) Observe(now time.Time) signals.Observation {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.observed++
	return quiet(now, f.input)
}

func (f *fakeSignals) Changed() <-chan struct{} { return f.changed }

func (f *fakeSignals) Waited() (signals.Waited, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked++
	return f.waited, !f.blind
}

// key presses a key; told says whether an event tells of it.
func (f *fakeSignals) key(told bool) {
	f.mu.Lock()
	f.input = time.Now()
	f.mu.Unlock()
	if told {
		f.changed <- struct{}{}
	}
}

func (f *fakeSignals) looks() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.observed
}

// bench is a Harvest that runs in virtual time.
type bench struct {
	wrote atomic.Int64 // bytes of blobs
	*Harvest
	signals *fakeSignals
	dir     string
	log     bytes.Buffer
	stopped time.Duration // what Apply takes where cores become fewer
	stop    func()

	mu      sync.Mutex // guards everything below
	fail    error      // of Apply
	applied []Decision
	offers  []int
	told    time.Time // when the last of them came
}

// start makes a Harvest in a folder and runs it. It is to be called in a bubble.
func start(t *testing.T, dir string, owner bool) *bench {
	t.Helper()
	state, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{signals: &fakeSignals{changed: make(chan struct{}), input: time.Now()}, dir: dir}
	o := Options{
		State: state, Cores: 8, Machine: 8, Apply: b.apply, Offered: b.offered, Wrote: b.wrote.Load,
		Log: slog.New(slog.NewTextHandler(&b.log, nil)),
	}
	if owner {
		o.Signals, o.Policy = b.signals, policy.Open(policy.Paths{Owner: filepath.Join(dir, policy.OwnerFile)})
	}
	if b.Harvest, err = New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	b.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		state.Close()
	}
	return b
}

func (b *bench) offered(cores int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offers, b.told = append(b.offers, cores), time.Now()
}

// said returns how often others were told, and when last.
func (b *bench) said() (int, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.offers), b.told
}

func (b *bench) apply(d Decision) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return b.fail
	}
	if n := len(b.applied); n > 0 && d.Cores < b.applied[n-1].Cores {
		time.Sleep(b.stopped)
	}
	b.applied = append(b.applied, d)
	return nil
}

func (b *bench) cores() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.applied) == 0 {
		return -1
	}
	return b.applied[len(b.applied)-1].Cores
}

func (b *bench) expect(t *testing.T, what string, cores int) {
	t.Helper()
	synctest.Wait()
	if got := b.cores(); got != cores {
		t.Errorf("%s: %d cores, expected %d: %s", what, got, cores, b.Status().Decision.Why)
	}
}

// TestP9Measured: what the owner waits for is seen in two histograms, kept over a restart.
func TestP9Measured(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir, true)
		b.stopped = 30 * time.Millisecond
		b.Working(true)
		b.expect(t, "at first", 0)
		time.Sleep(5*time.Minute + time.Second)
		b.expect(t, "away", 8)
		b.signals.key(true)
		time.Sleep(30 * time.Millisecond)
		b.expect(t, "an event tells of a key", 0)
		if f := b.Status().Figures; f.Detect.Max != 0 || f.Stop.Max != 30*time.Millisecond || f.Sum.Max != 30*time.Millisecond || f.Sum.Count() != 1 {
			t.Errorf("%+v", f)
		}
		time.Sleep(5*time.Minute + time.Second)
		b.expect(t, "away again", 8)
		b.stopped = 240 * time.Millisecond
		time.Sleep(37 * time.Millisecond)
		b.signals.key(false)
		time.Sleep(fast + b.stopped)
		b.expect(t, "nothing tells of a key", 0)
		f := b.Status().Figures
		if f.Detect.Max == 0 || f.Detect.Max > fast || f.Stop.Max != 240*time.Millisecond || f.Sum.Max != f.Detect.Max+f.Stop.Max || f.Disturbed[Late] != 1 {
			t.Errorf("%+v", f)
		}
		b.stop()
	})
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir, true)
		if f := b.Status().Figures; f.Detect.Count() != 2 || f.Stop.Count() != 2 || f.Sum.Quantile(0.5) != 50*time.Millisecond || f.Disturbed[Late] != 1 {
			t.Errorf("after a restart %+v", f)
		}
		b.stop()
	})
}

// TestLooksSeldom: an agent with nothing to do looks every three seconds, and writes nothing.
func TestLooksSeldom(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir, true)
		time.Sleep(time.Hour + time.Second)
		b.expect(t, "an hour idle", 8)
		if n := b.signals.looks(); n < 1150 || n > 1250 {
			t.Errorf("looked %d times in an hour", n)
		}
		before := b.signals.looks()
		b.Working(true)
		time.Sleep(10 * time.Second)
		if n := b.signals.looks() - before; n < 190 || n > 210 {
			t.Errorf("looked %d times in 10 s of work", n)
		}
		expectFiles(t, dir)
		b.Ended(3*time.Second, false)
		time.Sleep(time.Minute)
		expectFiles(t, dir, figuresFile)
		b.Ended(4*time.Second, false)
		time.Sleep(50 * time.Minute)
		if kept := keptOf(t, dir); kept != 3*time.Second {
			t.Errorf("%s are kept within the hour", kept)
		}
		time.Sleep(15 * time.Minute)
		if kept := keptOf(t, dir); kept != 7*time.Second {
			t.Errorf("%s are kept after an hour", kept)
		}
		b.Ended(time.Second, false)
		b.stop()
		if kept := keptOf(t, dir); kept != 8*time.Second {
			t.Errorf("%s are kept at the end", kept)
		}
	})
}

// expectShown compares what others may see.
func expectShown(t *testing.T, h *Harvest, when string, want Figures) {
	t.Helper()
	f := h.Shown(time.Now())
	if f.CPU != want.CPU || f.Units != want.Units || f.Failed != want.Failed || f.Sum.Count() != want.Sum.Count() {
		t.Errorf("%s: %s, %d units, %d failed, %d reactions, expected %+v", when, f.CPU, f.Units, f.Failed, f.Sum.Count(), want)
	}
}

// reopened is what a process has that begins after this one was killed.
func (b *bench) reopened(t *testing.T) *Harvest {
	t.Helper()
	state, err := os.OpenRoot(b.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	h, err := New(Options{State: state, Signals: b.o.Signals, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestShownNeverGoesBack: what others see is what a process has that begins after this one was killed.
func TestShownNeverGoesBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir, false)
		b.Ended(3*time.Second, false)
		b.Ended(0, false)
		b.Ended(time.Second, true)
		expectShown(t, b.Harvest, "not on disk yet", Figures{})
		time.Sleep(2 * lone)
		first := Figures{CPU: 3 * time.Second, Units: 2, Failed: 1}
		expectShown(t, b.Harvest, "the first that changed is written at once", first)
		b.Ended(4*time.Second, false)
		time.Sleep(saveEvery / 2)
		expectShown(t, b.Harvest, "within the hour", first)
		expectShown(t, b.reopened(t), "after a kill", first)
		time.Sleep(saveEvery)
		expectShown(t, b.Harvest, "after an hour", Figures{CPU: 7 * time.Second, Units: 3, Failed: 1})
		b.stop()
	})
}

// TestShownNothingOfToday: of a PC with an owner others see what was until the day began, whatever happens, and at
// midnight that of the day that is over, once.
func TestShownNothingOfToday(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir, true)
		y, m, d := time.Now().Date()
		midnight := time.Date(y, m, d+1, 0, 0, 0, 0, time.Local)
		time.Sleep(time.Until(midnight.Add(9 * time.Hour)))
		var all Figures // so far
		for day := range 3 {
			before := all
			for range 5 {
				time.Sleep(time.Hour + time.Minute)
				b.Working(true)
				b.signals.key(true)
				b.Ended(time.Second, false)
				synctest.Wait()
				b.Working(false) // or it looks 20 times a second
				all.CPU, all.Units = all.CPU+time.Second, all.Units+1
				all.Sum.Observe(time.Millisecond)
				expectShown(t, b.Harvest, fmt.Sprintf("on day %d", day), before)
				expectShown(t, b.reopened(t), fmt.Sprintf("after a kill on day %d", day), before)
			}
			midnight = midnight.AddDate(0, 0, 1)
			time.Sleep(time.Until(midnight) - time.Second)
			expectShown(t, b.Harvest, "a second before midnight", before)
			time.Sleep(time.Second)
			expectShown(t, b.Harvest, "at midnight", all)
			expectShown(t, b.reopened(t), "after a kill at midnight", all)
			time.Sleep(9 * time.Hour)
		}
		b.stop()
	})
}

func keptOf(t *testing.T, dir string) time.Duration {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var f Figures
	if err := load(root, figuresFile, &f); err != nil {
		t.Fatal(err)
	}
	_, month := f.Harvest(time.Now())
	return month
}

func expectFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("the folder has %q, expected %q", names, want)
	}
}

// TestPauseIsKept: a restart stays paused, and resuming lifts the owner's own pause and nothing else.
func TestPauseIsKept(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir, true)
		time.Sleep(6 * time.Minute)
		b.expect(t, "away", 8)
		if err := b.Pause(time.Time{}); err != nil {
			t.Fatal(err)
		}
		b.expect(t, "paused", 0)
		b.stop()
		b = start(t, dir, true)
		time.Sleep(time.Hour)
		b.expect(t, "after a restart", 0)
		if s := b.Status(); !s.Paused || s.Decision.Why != "Paused by the owner" {
			t.Errorf("%+v", s)
		}
		b.signals.key(true)
		if err := b.Resume(); err != nil {
			t.Fatal(err)
		}
		b.expect(t, "resumed by who sits there", 0)
		if s := b.Status(); s.Paused || s.Decision.Why != "Paused: keyboard or mouse used 0 s ago; work waits 5 min from then" {
			t.Errorf("%+v", s)
		}
		time.Sleep(5*time.Minute + time.Second)
		b.expect(t, "later", 8)
		if err := b.StopJobs(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		b.expect(t, "stop-jobs", 0)
		if d := b.Status().Decision; !d.GiveBack {
			t.Errorf("%+v", d)
		}
		time.Sleep(time.Hour + time.Second)
		b.expect(t, "an hour later", 8)
		for _, until := range []time.Time{time.Now(), time.Now().Add(32 * 24 * time.Hour)} {
			if err := b.Pause(until); jobs.KindOf(err) != jobs.Invalid {
				t.Errorf("paused until %s: %v", until, err)
			}
		}
		b.stop()
		if err := os.WriteFile(filepath.Join(dir, pauseFile), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		b = start(t, dir, true)
		time.Sleep(time.Hour)
		b.expect(t, "a pause that cannot be read", 0)
		b.stop()
	})
}

// TestApplyFails: what could not be stopped is tried again, often.
func TestApplyFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), true)
		time.Sleep(6 * time.Minute)
		b.expect(t, "away", 8)
		b.mu.Lock()
		b.fail = errors.New("no such process")
		b.mu.Unlock()
		b.signals.key(true)
		b.expect(t, "cannot stop", 8)
		time.Sleep(time.Second)
		b.mu.Lock()
		b.fail = nil
		b.mu.Unlock()
		time.Sleep(fast)
		b.expect(t, "can again", 0)
		b.stop()
		if n := strings.Count(b.log.String(), "no such process"); n != 1 {
			t.Errorf("%d lines in the log, expected 1", n)
		}
	})
}

func TestNoOwnerRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), false)
		b.expect(t, "at once", 8)
		if b.signals.looks() > 0 {
			t.Error("looked for an owner")
		}
		if err := b.Pause(time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		b.expect(t, "paused", 0)
		time.Sleep(time.Hour + lone)
		b.expect(t, "after the pause", 8)
		b.stop()
		if len(b.offers) != 3 || b.offers[0] != 8 || b.offers[1] != 0 || b.offers[2] != 8 {
			t.Errorf("offered %v", b.offers)
		}
	})
}

// TestPolicyChanges: a file that changes counts within seconds, a bad one keeps the last good one and is shown.
func TestPolicyChanges(t *testing.T) {
	dir := t.TempDir()
	set := func(text string) {
		if err := os.WriteFile(filepath.Join(dir, policy.OwnerFile), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir, true)
		time.Sleep(6 * time.Minute)
		b.expect(t, "away", 8)
		set("away: {cores: 3}")
		time.Sleep(policyEvery + slow)
		b.expect(t, "a new policy", 3)
		set("{away: {cores: 3}, disk: 2GiB}")
		time.Sleep(policyEvery + slow)
		b.expect(t, "less disk", 3)
		if d := b.applied[len(b.applied)-1]; d.Kept != 2<<30 || d.Cores != 3 {
			t.Errorf("less disk, and nothing else: %+v", d)
		}
		set("away: {cores: three}")
		time.Sleep(policyEvery + slow)
		b.expect(t, "a bad policy", 3)
		if s := b.Status(); s.Wrong == nil || !strings.Contains(s.Wrong.Error(), "owner.yaml:1:15: away.cores") || s.Policy == nil {
			t.Errorf("%+v", s)
		}
		b.stop()
		b = start(t, dir, true)
		time.Sleep(time.Hour)
		b.expect(t, "a bad policy at the start", 0)
		set("{}")
		time.Sleep(policyEvery + slow)
		b.expect(t, "mended", 8)
		b.stop()
	})
}

// TestSetPolicy: what the owner sets holds at once, and where there is no owner nothing can be set.
func TestSetPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), true)
		time.Sleep(6 * time.Minute)
		b.expect(t, "away", 8)
		two := "2"
		if err := b.SetPolicy("away.cores", &two); err != nil {
			t.Fatal(err)
		}
		b.expect(t, "set", 2)
		if err := b.SetPolicy("away.cores", nil); err != nil {
			t.Fatal(err)
		}
		b.expect(t, "taken out", 8)
		b.stop()
		b = start(t, t.TempDir(), false)
		if err := b.SetPolicy("away.cores", &two); jobs.KindOf(err) != jobs.Unsupported {
			t.Errorf("without an owner: %v", err)
		}
		b.expect(t, "without an owner", 8)
		b.stop()
	})
}

func TestHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), true)
		began := time.Now()
		time.Sleep(6 * time.Minute)
		b.signals.key(true)
		time.Sleep(time.Minute)
		h := b.History()
		want := []Entry{
			{began, Freeze, 0, "in use"},
			{began.Add(5 * time.Minute), Run, 8, "nobody uses this PC"},
			{began.Add(6 * time.Minute), Freeze, 0, "in use"},
		}
		if len(h) != len(want) || h[0] != want[0] || h[1] != want[1] || h[2] != want[2] {
			t.Errorf("got %+v\nexpected %+v", h, want)
		}
		if s := b.Status(); !s.Since.Equal(want[2].From) {
			t.Errorf("in use since %s", s.Since)
		}
		b.stop()
	})
	var h history
	for i := range 10_000 {
		h = h.add(Decision{Cores: i % 2, Reason: "x"}, morning.Add(time.Duration(i)*time.Second))
	}
	if len(h) != maxHistory || h[len(h)-1].From != morning.Add(9999*time.Second) {
		t.Errorf("%d entries", len(h))
	}
	h = h.add(Decision{Cores: 7}, morning.Add(72*time.Hour))
	if len(h) != 2 {
		t.Errorf("%d entries after three days, expected the one that held and the new one", len(h))
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	if h.Quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	for _, ms := range []int{-5, 0, 1, 2, 3, 99, 100, 101, 250, 6000} {
		h.Observe(time.Duration(ms) * time.Millisecond)
	}
	if want := [12]uint64{3, 1, 1, 0, 0, 0, 2, 2, 0, 0, 0, 1}; h.Counts != want {
		t.Errorf("got %v, expected %v", h.Counts, want)
	}
	for q, want := range map[float64]time.Duration{0.3: time.Millisecond, 0.7: 100 * time.Millisecond, 0.9: 250 * time.Millisecond, 0.99: 6 * time.Second} {
		if got := h.Quantile(q); got != want {
			t.Errorf("quantile %v is %s, expected %s", q, got, want)
		}
	}
}

func TestFiguresForgetOldDays(t *testing.T) {
	var f Figures
	for i := range 200 {
		f.ended(time.Second, morning.AddDate(0, 0, i-199))
	}
	today, month := f.Harvest(morning)
	if len(f.Days) != keepDays+1 || today != time.Second || month != 26*time.Second {
		t.Errorf("%d days, %s today, %s this month", len(f.Days), today, month)
	}
}

// TestOfferTellsNothing: the offer changes at most every ten minutes, at times that the owner has nothing to do with.
func TestOfferTellsNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		passed, o := time.Duration(rapid.Int64Range(0, int64(OfferEvery)-1).Draw(t, "phase")), Offer{}
		changed := time.Duration(-1)
		for range rapid.IntRange(1, 60).Draw(t, "looks") {
			next := o.Next(rapid.IntRange(0, 8).Draw(t, "cores"), passed, OfferEvery)
			if next.Cores != o.Cores {
				period := passed.Truncate(OfferEvery)
				if period <= changed || period == 0 {
					t.Fatalf("two changes in the period that begins after %s, or one in that of the start", period)
				}
				changed = period
			}
			o = next
			passed += time.Duration(rapid.IntRange(0, 300).Draw(t, "passes")) * time.Second
		}
	})
	if got := (Offer{}).Next(4, time.Hour, 0); got.Cores != 4 {
		t.Error("an agent without an owner does not offer its cores at once")
	}
}

// TestOfferChangesEveryTenMinutes: whatever the owner does, however often, what others hear of changes at the beginnings
// of ten minutes only, which are the same all the time.
func TestOfferChangesEveryTenMinutes(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := start(t, dir, true)
		var changed []time.Time
		offered := 0
		storm := rand.New(rand.NewPCG(1, 2))
		begun := time.Now()
		for time.Since(begun) < 24*time.Hour {
			var err error
			switch storm.IntN(20) {
			case 0:
				err = b.Pause(time.Now().Add(time.Duration(1+storm.IntN(900)) * time.Second))
			case 1:
				err = b.StopJobs(time.Time{})
			case 2, 3, 4:
				err = b.Resume()
			case 5:
				b.signals.key(true)
			case 6:
				hours := fmt.Sprintf("away: {cores: %d}\n", 1+storm.IntN(8))
				err = os.WriteFile(filepath.Join(dir, policy.OwnerFile), []byte(hours), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Duration(1+storm.IntN(180)) * time.Second)
			synctest.Wait()
			if n, told := b.said(); n > offered {
				if n > offered+1 {
					t.Fatalf("told %d times within three minutes", n-offered)
				}
				offered, changed = n, append(changed, told)
			}
		}
		b.stop()
		if len(changed) < 20 {
			t.Fatalf("%d changes in a day show nothing", len(changed))
		}
		for _, at := range changed {
			if late := at.Sub(b.phase) % OfferEvery; late > 2*slow {
				t.Errorf("a change %s after a period began", late)
			}
		}
	})
}

func TestSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), true)
		b.stop()
		began := time.Now()
		b.o.OwnCPU = func() time.Duration { return time.Since(began) * 2 }
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour+time.Second)
		defer cancel()
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
		samples := b.Samples()
		if len(samples) != 6 {
			t.Fatalf("%d samples in an hour", len(samples))
		}
		for i, s := range samples {
			if !s.From.Equal(began.Add(time.Duration(i)*sampleEvery)) || math.Abs(s.Ours-2) > 0.01 || math.Abs(s.Others-0.1) > 0.01 {
				t.Errorf("sample %d: %+v", i, s)
			}
		}
	})
	var b busy
	for i := range 300 {
		b.look(morning.Add(time.Duration(i)*sampleEvery), 1, 0)
		b.look(morning.Add(time.Duration(i)*sampleEvery+time.Second), 1, 0)
	}
	if len(b.samples) != maxSamples || b.samples[0].Others != 1 || b.samples[0].Ours != 0 {
		t.Errorf("%d samples, the oldest is %+v", len(b.samples), b.samples[0])
	}
}
