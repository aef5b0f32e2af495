package worker

import (
	"errors"
	"time"
)

// confirmWithin is how long units that ran when the machine fell asleep may run on without a steward's word.
const confirmWithin = 20 * time.Second

// errSlept is the cause with which such units are cancelled.
var errSlept = errors.New("the machine has slept, and no steward says that the unit is still wanted")

// wake notices, by the wall clock, that the machine has slept since the last step: steps are never as far apart as
// leases live. What is held may run elsewhere by now, be done or be of a job that has ended, so its steward is asked at
// once; what no steward confirms is given back, with its newest checkpoint.
func (w *Worker) wake(now time.Time) {
	last := w.stepped
	w.stepped = now.Round(0)
	slept := w.stepped.Sub(last).Abs()
	woke := !last.IsZero() && slept > w.o.Lease.TTL
	if woke {
		w.log.Info("this machine has slept: asking whether its units are still wanted", "for", slept)
	}
	for r := range w.running {
		if woke && r.watch != nil {
			r.watch.rest()
		}
	}
	for _, s := range w.shards {
		switch {
		case woke && len(s.bundles) > 0:
			s.woke, s.changed, s.retryAt, s.askedAt = w.stepped, true, time.Time{}, time.Time{}
		case s.woke.IsZero():
		case !s.answered.Before(s.woke):
			s.woke = time.Time{}
		case w.stepped.Sub(s.woke) > confirmWithin:
			s.woke = time.Time{}
			w.giveBack(s, errSlept)
		}
	}
}
