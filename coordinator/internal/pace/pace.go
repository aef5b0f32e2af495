// Package pace tells how fast something gets done from how much was done when, and how long the rest will take.
package pace

import "time"

const (
	// window and units are what a rate looks back on at least, where there is so much: a minute, so that it follows
	// agents that come and go, and some units, so that long ones have a rate at all.
	window = time.Minute
	units  = 20
	// step bounds the samples that are kept.
	step = time.Second
)

// Pace tells units per second from what was done when. The first Add is the start: what was done by then was done
// before. Its zero value is ready.
type Pace struct{ samples []sample }

type sample struct {
	at   time.Time
	done uint64
}

// Add notes how many units are done now.
func (p *Pace) Add(now time.Time, done uint64) {
	if n := len(p.samples); n > 0 && (p.samples[n-1].done == done || now.Sub(p.samples[n-1].at) < step) {
		return
	}
	p.samples = append(p.samples, sample{now, done})
	for len(p.samples) > 1 && now.Sub(p.samples[1].at) >= window && done >= p.samples[1].done+units {
		p.samples = p.samples[1:]
	}
}

// Rate returns units per second, 0 while unknown.
func (p *Pace) Rate(now time.Time, done uint64) float64 {
	if len(p.samples) == 0 || done <= p.samples[0].done {
		return 0
	}
	took := now.Sub(p.samples[0].at).Seconds()
	if took <= 0 {
		return 0
	}
	return float64(done-p.samples[0].done) / took
}

// Left says for people how long so many units take at a rate above 0. It keeps absurd times out: a slow start is no
// forecast of years.
func Left(units uint64, rate float64) string {
	const most = 1000 * time.Hour
	seconds := float64(units) / rate
	if seconds > most.Seconds() {
		return "over 1000 hours"
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
