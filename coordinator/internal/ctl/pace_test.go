package ctl

import (
	"math"
	"testing"
	"time"
)

func TestPaceFollowsTheLastMinute(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	p.add(now, 500) // done by an earlier run
	if r := p.rate(now, 500); r != 0 {
		t.Errorf("rate %v before anything was done", r)
	}
	done := uint64(500)
	for range 300 { // 10 a second for 300 s, then 50 a second
		now, done = now.Add(time.Second), done+10
		p.add(now, done)
	}
	expectRate(t, p.rate(now, done), 10)
	for range 120 {
		now, done = now.Add(time.Second), done+50
		p.add(now, done)
	}
	expectRate(t, p.rate(now, done), 50)
	if len(p.samples) > 100 {
		t.Errorf("%d samples", len(p.samples))
	}
}

func TestPaceOfLongUnits(t *testing.T) {
	var p pace
	now, done := time.Unix(1000, 0), uint64(0)
	p.add(now, 0)
	for range 50 {
		now, done = now.Add(10*time.Minute), done+1
		p.add(now, done)
		expectRate(t, p.rate(now, done), 1.0/600)
	}
	if len(p.samples) > 2*paceUnits {
		t.Errorf("%d samples", len(p.samples))
	}
}

func TestPaceOfManyUpdates(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	for done := range uint64(100_000) {
		now = now.Add(time.Millisecond)
		p.add(now, done)
	}
	expectRate(t, p.rate(now, 99_999), 1000)
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
