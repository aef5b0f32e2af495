package pace

import (
	"math"
	"testing"
	"time"
)

func TestPaceFollowsTheLastMinute(t *testing.T) {
	var p Pace
	now := time.Unix(1000, 0)
	p.Add(now, 500) // done by an earlier run
	if r := p.Rate(now, 500); r != 0 {
		t.Errorf("rate %v before anything was done", r)
	}
	done := uint64(500)
	for range 300 { // 10 a second for 300 s, then 50 a second
		now, done = now.Add(time.Second), done+10
		p.Add(now, done)
	}
	expectRate(t, p.Rate(now, done), 10)
	for range 120 {
		now, done = now.Add(time.Second), done+50
		p.Add(now, done)
	}
	expectRate(t, p.Rate(now, done), 50)
	if len(p.samples) > 100 {
		t.Errorf("%d samples", len(p.samples))
	}
}

func TestPaceOfLongUnits(t *testing.T) {
	var p Pace
	now, done := time.Unix(1000, 0), uint64(0)
	p.Add(now, 0)
	for range 50 {
		now, done = now.Add(10*time.Minute), done+1
		p.Add(now, done)
		expectRate(t, p.Rate(now, done), 1.0/600)
	}
	if len(p.samples) > 2*units {
		t.Errorf("%d samples", len(p.samples))
	}
}

func TestPaceOfManyUpdates(t *testing.T) {
	var p Pace
	now := time.Unix(1000, 0)
	for done := range uint64(100_000) {
		now = now.Add(time.Millisecond)
		p.Add(now, done)
	}
	expectRate(t, p.Rate(now, 99_999), 1000)
	if len(p.samples) > 100 {
		t.Errorf("%d samples", len(p.samples))
	}
}

func expectRate(t *testing.T, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > want/20 {
		t.Errorf("rate %v, expected %v", got, want)
	}
}

func TestTimeLeftIsNotAbsurd(t *testing.T) {
	for rate, want := range map[float64]string{300: "0s", 1: "1m1s", 0.5: "2m2s", 1e-300: "over 1000 hours"} {
		if got := Left(61, rate); got != want {
			t.Errorf("at %v a second: %q, expected %q", rate, got, want)
		}
	}
}
