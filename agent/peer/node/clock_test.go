package node

import (
	"testing"
	"time"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

func TestClock(t *testing.T) {
	const minute = time.Minute
	type look struct {
		ahead time.Duration
		off   bool
	}
	for name, test := range map[string]struct {
		ahead []time.Duration // of one peer after the other
		want  look
	}{
		"nobody asked":                    {nil, look{}},
		"one peer judges nothing":         {[]time.Duration{6 * minute}, look{6 * minute, false}},
		"two peers judge nothing":         {[]time.Duration{6 * minute, 8 * minute}, look{7 * minute, false}},
		"three peers judge: ahead":        {[]time.Duration{6 * minute, 7 * minute, 8 * minute}, look{7 * minute, true}},
		"three peers judge: behind":       {[]time.Duration{-6 * minute, -7 * minute, 0}, look{-6 * minute, true}},
		"just in bounds":                  {[]time.Duration{5 * minute, 5 * minute, 5 * minute}, look{5 * minute, false}},
		"one of three is wrong":           {[]time.Duration{0, time.Second, 100 * minute}, look{time.Second, false}},
		"two of five are wrong":           {[]time.Duration{0, 100 * minute, 0, -100 * minute, 0}, look{0, false}},
		"three of five are wrong":         {[]time.Duration{0, 10 * minute, 9 * minute, 11 * minute, 0}, look{9 * minute, true}},
		"only the last five peers count":  {[]time.Duration{9 * minute, 9 * minute, 9 * minute, 0, 0, 0, 0, 0}, look{0, false}},
		"an even number: between the two": {[]time.Duration{0, 2 * minute, 4 * minute, 4 * minute}, look{3 * minute, false}},
	} {
		t.Run(name, func(t *testing.T) {
			var c clocks
			now := time.Now()
			for i, ahead := range test.ahead {
				c.add(jobs.KeyID{byte(i)}, now, now.Add(-ahead), now)
			}
			want := Clock{Ahead: test.want.ahead, Compared: min(clockPeers, len(test.ahead)), Off: test.want.off}
			if got := c.look(); got != want {
				t.Errorf("got %+v, expected %+v", got, want)
			}
		})
	}
}

func TestClockSamples(t *testing.T) {
	var c clocks
	now := time.Now()
	a := jobs.KeyID{1}
	// Half of the way there and back is taken off: the peer's clock shows the moment in the middle.
	if got, _ := c.add(a, now, now.Add(time.Second), now.Add(2*time.Second)); got != (Clock{Compared: 1}) {
		t.Errorf("a slow answer of a right clock: %+v", got)
	}
	c.add(a, now, now.Add(-time.Minute), now)
	if got := c.look(); got != (Clock{Ahead: time.Minute, Compared: 1}) {
		t.Errorf("the same peer again, with a later word: %+v", got)
	}
	for name, received := range map[string]time.Time{"took too long": now.Add(clockTrip + 1), "the clock was set back": now.Add(-1)} {
		if got, _ := c.add(a, now, now, received); got.Ahead != time.Minute {
			t.Errorf("%s, but it counts: %+v", name, got)
		}
	}
	c.add(jobs.KeyID{2}, now, now.Add(-time.Hour), now)
	if got, changed := c.add(jobs.KeyID{3}, now, now.Add(-time.Hour), now); !got.Off || !changed {
		t.Errorf("%+v, changed %v", got, changed)
	}
	if got, changed := c.add(jobs.KeyID{4}, now, now.Add(-time.Hour), now); !got.Off || changed {
		t.Errorf("no news: %+v, changed %v", got, changed)
	}
}

// TestClockIsCompared holds that peers learn each other's time while they compare records.
func TestClockIsCompared(t *testing.T) {
	inPool(t, func(p *pool) {
		a, stopA := p.serve(1, p.folder())
		defer stopA()
		b, stopB := p.serve(2, p.folder(firstAddress))
		defer stopB()
		p.within(5*time.Minute, "both clocks are compared", func() bool { return a.Clock().Compared == 1 && b.Clock().Compared == 1 })
		if c := a.Clock(); c.Ahead < -time.Second || c.Ahead > time.Second || c.Off {
			t.Errorf("in one bubble there is one clock: %+v", c)
		}
	})
}

// TestAWrongClockDeletesNothing holds that a peer whose clock is off works on by that of the grid: a job that is past its
// time by the wrong clock alone goes on, one that is past it ends (P5), and it is let go of when the clock is right.
func TestAWrongClockDeletesNothing(t *testing.T) {
	inPool(t, func(p *pool) {
		n, stop := p.serve(1, p.folder())
		defer stop()
		job, offer := p.job()
		_, refused, err := n.Store.Add(p.t.Context(), []records.Offer{offer}, true)
		if err != nil || len(refused) > 0 {
			t.Fatal(err, refused)
		}
		ahead := func(by time.Duration) {
			now := time.Now()
			for i := range clockJudges {
				n.compared(jobs.KeyID{byte(i)}, now, now.Add(-by), now)
			}
		}
		ahead(time.Hour)
		time.Sleep(2 * time.Hour)
		if !n.Clock().Off {
			t.Fatal("the clock is not taken for wrong")
		}
		if _, err := n.Store.Job(job); err != nil || n.Store.Runnable(job) != nil {
			t.Errorf("a job that is past its time by a wrong clock does not go on: %v, %v", err, n.Store.Runnable(job))
		}
		time.Sleep(time.Hour + 2*ledger.Skew)
		if _, err := n.Store.Job(job); jobs.KindOf(err) != jobs.NotFound || n.Store.Runnable(job) == nil {
			t.Errorf("a job goes on that is past its time by the grid's clock: %v, %v", err, n.Store.Runnable(job))
		}
		if len(n.Store.IDs(records.Scope{})) != 1 {
			t.Error("a job was let go by a clock that is off")
		}
		ahead(0)
		p.within(2*sweepEvery, "the job goes with the right clock", func() bool { return len(n.Store.IDs(records.Scope{})) == 0 })
	})
}
