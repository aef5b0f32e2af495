package ctl

import "time"

const (
	// paceWindow and paceUnits are what a rate looks back on at least, where there is so much: a minute, so
	// that it follows agents that come and go, and some units, so that long ones have a rate at all.
	paceWindow = time.Minute
	paceUnits  = 20
	// paceStep bounds the samples that are kept.
	paceStep = time.Second
)

// pace tells units per second from what was done when. The first add is the start: what was done by then
// was done before.
type pace struct{ samples []paceSample }

type paceSample struct {
	at   time.Time
	done uint64
}

func (p *pace) add(now time.Time, done uint64) {
	if n := len(p.samples); n > 0 && (p.samples[n-1].done == done || now.Sub(p.samples[n-1].at) < paceStep) {
		return
	}
	p.samples = append(p.samples, paceSample{now, done})
	for len(p.samples) > 1 && now.Sub(p.samples[1].at) >= paceWindow && done >= p.samples[1].done+paceUnits {
		p.samples = p.samples[1:]
	}
}

// rate returns units per second, 0 while unknown.
func (p *pace) rate(now time.Time, done uint64) float64 {
	if len(p.samples) == 0 || done <= p.samples[0].done {
		return 0
	}
	took := now.Sub(p.samples[0].at).Seconds()
	if took <= 0 {
		return 0
	}
	return float64(done-p.samples[0].done) / took
}
