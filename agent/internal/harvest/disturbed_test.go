package harvest

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/internal/harvest/signals"
)

func TestDisturbances(t *testing.T) {
	const s, tenth = time.Second, time.Second / 10
	// step is a moment so long after the one before, and what came to be since then.
	type step struct {
		after        time.Duration
		working      bool
		wrote        int64
		memory, disk time.Duration
	}
	busy := step{after: s, working: true, wrote: 1, memory: tenth, disk: 2 * tenth}
	calm := step{after: s, working: true, wrote: 1, memory: tenth - 1, disk: 2*tenth - 1}
	wait := func(b step, d time.Duration) step { b.after = d; return b }
	for name, c := range map[string]struct {
		steps []step
		want  []Disturbance // all of them, in their order
	}{
		"the first moment":       {[]step{busy}, nil},
		"both":                   {[]step{calm, busy}, []Disturbance{Swapped, Stalled}},
		"a little less":          {[]step{calm, calm}, nil},
		"goes on":                {[]step{calm, busy, busy, busy}, []Disturbance{Swapped, Stalled}},
		"comes again soon":       {[]step{calm, busy, calm, calm, busy}, []Disturbance{Swapped, Stalled}},
		"comes again late":       {append(append([]step{calm, busy}, slices.Repeat([]step{calm}, 29)...), busy), []Disturbance{Swapped, Stalled, Swapped, Stalled}},
		"nothing runs":           {[]step{{after: s}, {after: s, wrote: 1, memory: s, disk: s}}, []Disturbance{Stalled}},
		"work begins meanwhile":  {[]step{{after: s}, {after: s, working: true, memory: s}}, nil},
		"work ends meanwhile":    {[]step{{after: s, working: true}, {after: s, memory: s}}, nil},
		"nothing is written":     {[]step{calm, {after: s, working: true, disk: s}}, nil},
		"asleep":                 {[]step{calm, wait(busy, maxGap+1)}, nil},
		"a moment late":          {[]step{calm, wait(busy, maxGap)}, nil},
		"two moments in one":     {[]step{calm, wait(busy, 0)}, nil},
		"the clock was set back": {[]step{calm, busy, wait(calm, -time.Hour), busy}, []Disturbance{Swapped, Stalled, Swapped, Stalled}},
		"a group has ended":      {[]step{calm, {after: s, working: true, wrote: 1, memory: -time.Hour, disk: -time.Hour}}, nil},
	} {
		var d disturbances
		var got []Disturbance
		m := moment{at: morning, wrote: 7}
		for _, step := range c.steps {
			m.at, m.working, m.wrote = m.at.Add(step.after), step.working, m.wrote+step.wrote
			m.waited = signals.Waited{Memory: m.waited.Memory + step.memory, Disk: m.waited.Disk + step.disk}
			var began []Disturbance
			d, began = d.see(m)
			got = append(got, began...)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, expected %v", name, got, c.want)
		}
	}
}

// TestDisturbancesAreCounted: while units run and while blobs are written, and at no cost else.
func TestDisturbancesAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := start(t, t.TempDir(), true)
		defer b.stop()
		// second passes one in which others wait all the time.
		second := func() {
			time.Sleep(time.Second)
			b.signals.mu.Lock()
			b.signals.waited.Memory += time.Second
			b.signals.waited.Disk += time.Second
			b.signals.mu.Unlock()
		}
		expect := func(what string, swapped, stalled uint64) {
			t.Helper()
			synctest.Wait()
			if s := b.Status(); s.Unseen || s.Figures.Disturbed[Swapped] != swapped || s.Figures.Disturbed[Stalled] != stalled {
				t.Errorf("%s: %v, expected %d and %d", what, s.Figures.Disturbed, swapped, stalled)
			}
		}
		asked := func() int {
			b.signals.mu.Lock()
			defer b.signals.mu.Unlock()
			return b.signals.asked
		}
		for range 600 {
			second()
		}
		expect("nothing runs", 0, 0)
		if n := asked(); n != 1 {
			t.Errorf("asked %d times while nothing ran, expected once, at the start", n)
		}
		b.Working(true)
		for range 10 {
			second()
		}
		expect("units run", 1, 0)
		if n := asked() - 1; n < 9 || n > 12 {
			t.Errorf("asked %d times in ten seconds of work", n)
		}
		b.signals.key(true) // all is frozen
		time.Sleep(lull)
		for range 10 {
			second()
		}
		expect("units stand frozen", 2, 0)
		b.Working(false)
		for range 10 {
			b.wrote.Add(1)
			second()
		}
		expect("blobs are written", 2, 1)
		b.signals.mu.Lock()
		b.signals.blind = true
		b.signals.mu.Unlock()
		b.wrote.Add(1)
		for range 2 * slow / time.Second { // nothing runs, so it looks less often
			second()
		}
		if s := b.Status(); !s.Unseen || s.Figures.Disturbed[Stalled] != 1 {
			t.Errorf("nobody tells any more: %+v", s)
		}
	})
}
