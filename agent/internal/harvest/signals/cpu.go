package signals

import (
	"runtime"
	"time"
)

// cpu tells how many cores others use: what the whole machine was busy with, less what this agent and its units used,
// since the last reading.
type cpu struct {
	o     Options
	cores float64
	at    time.Time
	busy  time.Duration // of all cores, since some beginning
	own   time.Duration
}

func newCPU(o Options) *cpu { return &cpu{o: o, cores: float64(runtime.NumCPU())} }

// read returns no value the first time: there is nothing to compare with.
func (c *cpu) read(now time.Time) (Reading[float64], error) {
	busy, err := busyTime(c.o)
	if err != nil {
		return Reading[float64]{}, err
	}
	own := c.o.OwnCPU()
	span := now.Sub(c.at)
	first := c.at.IsZero() || span <= 0
	used := othersUse(busy-c.busy, own-c.own, span, c.cores)
	c.at, c.busy, c.own = now, busy, own
	if first {
		return Reading[float64]{}, nil
	}
	return Reading[float64]{Value: used, At: now}, nil
}

// othersUse returns cores. The clocks of machine and processes tick apart, so that a little below zero is nothing.
func othersUse(busy, own, span time.Duration, cores float64) float64 {
	if span <= 0 {
		return 0
	}
	return min(max(0, (busy-max(0, own)).Seconds()/span.Seconds()), cores)
}
