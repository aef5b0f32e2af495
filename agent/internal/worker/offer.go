package worker

import (
	"errors"
	"time"

	"idlegrid/jobs/manifest"
)

// errOwner is the cause with which units are cancelled that this machine has no place for.
var errOwner = errors.New("this machine is needed for something else")

// Offer is what this machine lets the worker use, until it says something else.
type Offer struct {
	// Slots is how many units may go on. Those that run beyond it are frozen, and held on.
	Slots int
	// GiveBack has all units go back that do not go on, with their newest checkpoint.
	GiveBack bool
	// Memory is how many bytes all units may have. Those that go on count with what their manifests let them have, frozen
	// ones with what they have. What does not fit is not started or asked for, and goes back. 0: as many as they like.
	Memory uint64
	// Takes says why a job is neither asked for nor run here; nil: none is refused. It must not block.
	Takes func(*manifest.Manifest) error
}

// dropper is a Runner that can end frozen units for their memory. Their error is executor.ErrDropped.
type dropper interface{ DropFrozen(most uint64) }

// SetOffer makes the worker keep to an offer. It returns when what may not go on stands still, without waiting for the
// worker, which does the rest with its next step. The error is Runner.Allow's. It may be called at any time, before Run
// as well. Until it is, all slots may be used.
func (w *Worker) SetOffer(o Offer) error {
	w.offering.Lock()
	defer w.offering.Unlock()
	w.offered.Store(&o)
	defer w.nudge()
	return w.o.Runner.Allow(o.Slots)
}

// nudge has the worker make a step.
func (w *Worker) nudge() {
	select {
	case w.nudges <- struct{}{}:
	default: // it is about to
	}
}

// slots is how many units may run now.
func (w *Worker) slots() int { return max(0, min(w.o.Slots, w.offered.Load().Slots)) }

// refuses says why a shard's units do not run here; nil: they may.
func (w *Worker) refuses(s *shard) error {
	if takes := w.offered.Load().Takes; takes != nil {
		return takes(s.job.Manifest)
	}
	return nil
}

// heed does what the offer asks for.
func (w *Worker) heed(now time.Time) {
	o, last := w.offered.Load(), w.heeded
	if last != o {
		w.heeded = o
		for _, s := range w.shards {
			if s.refusal = w.refuses(s); s.refusal != nil {
				w.handBack(s, func(*bundle) bool { return true }, now)
			}
			if last != nil && last.Slots < o.Slots {
				s.askAt = earlier(s.askAt, now) // nobody has told this machine what opened meanwhile
			}
		}
	}
	if w.slots() == 0 {
		w.stopFetching()
	}
	if o.GiveBack {
		w.giveBackIdle(now)
	}
	if o.Memory == 0 {
		return
	}
	left := w.keepToMemory(o.Memory, now)
	if last != o {
		w.giveBackTooLarge(o.Memory, now)
		if d, ok := w.o.Runner.(dropper); ok {
			d.DropFrozen(left)
		}
	}
}

// stopFetching ends what is being fetched for units. It begins anew when one may run.
func (w *Worker) stopFetching() {
	for _, p := range w.programs {
		if p.loading && !p.paused {
			p.paused = true
			p.pause()
		}
	}
	for r := range w.running {
		if r.saver != nil && r.saver.fetching.Load() {
			r.cancel(errOwner)
		}
	}
}

// giveBackIdle gives back what is frozen and, if nothing may run, what waits for a slot. A bundle stays while one of its
// units goes on.
func (w *Worker) giveBackIdle(now time.Time) {
	going, frozen := map[*bundle]bool{}, map[*bundle]bool{}
	for r := range w.running {
		if b := r.current.Load().bundle; r.frozen.Load() {
			frozen[b] = true
		} else {
			going[b] = true
		}
	}
	none := w.slots() == 0
	for _, s := range w.shards {
		w.handBack(s, func(b *bundle) bool { return !going[b] && (none || frozen[b]) }, now)
	}
}

// handBack gives those of a shard's unfinished bundles back that pass. What has ended of them is reported.
func (w *Worker) handBack(s *shard, pass func(*bundle) bool, now time.Time) {
	for number, b := range s.bundles {
		if b.open == 0 || !pass(b) {
			continue
		}
		if len(b.ended.units) > 0 {
			w.finish(b, now)
		}
		w.dropFor(s, number, errOwner)
	}
}

// dropped gives a unit's bundle back that the Runner ended for its memory.
func (w *Worker) dropped(t task, now time.Time) {
	w.log.Info("a frozen unit had too much memory, giving it back", "job", t.bundle.shard.id.Job, "unit", t.unit)
	w.handBack(t.bundle.shard, func(b *bundle) bool { return b == t.bundle }, now)
}

// anyFrozen reports whether a unit waits to go on.
func (w *Worker) anyFrozen() bool {
	for r := range w.running {
		if r.frozen.Load() {
			return true
		}
	}
	return false
}

// told hears whether a run's unit goes on, in whatever goroutine.
func (w *Worker) told(r *run, frozen bool) {
	if r.frozen.Swap(frozen) == frozen {
		return
	}
	if r.watch != nil {
		r.watch.rest()
	}
	w.nudge() // it may have to go back, or leave no memory for others
}
