package worker

import (
	"errors"
	"time"
)

// errUnstorable is the cause with which units are cancelled whose outcomes could not be stored.
var errUnstorable = errors.New("nothing more can be stored on this agent")

// checkStore lets this agent take no work while it could not store what comes of it. With a bad disk everything
// unfinished goes back. With a store that is full by its quota only what has not started does: the packs of what
// runs may still fit. What is finished is tried on, as ever. An agent that leaves the grid takes no work either.
func (w *Worker) checkStore(now time.Time) {
	bad, cause := w.o.Disk() != nil, errUnstorable
	if w.leaving {
		bad, cause = true, errLeaving
	}
	full := w.o.Room() < int64(w.backlog)+flushBytes
	if full && !bad && !w.unfit {
		w.log.Warn("taking no work: the blobs kept here leave no room for outcomes", "bytes_left", w.o.Room(),
			"hint", "seal jobs that are done with, or give this agent more: --disk-gib, and disk in the policy")
	}
	w.unfit = bad || full
	if !w.unfit || w.stopping {
		return
	}
	for _, s := range w.shards {
		for _, b := range s.bundles {
			if len(b.ended.units) > 0 && (bad || s.waits(b)) {
				w.finish(b, now)
			}
		}
		if bad {
			w.giveBack(s, cause)
		} else {
			w.giveBackQueue(s, cause)
		}
	}
}

// waits reports whether units of a bundle have not started.
func (s *shard) waits(b *bundle) bool {
	for _, t := range s.queue {
		if t.bundle == b {
			return true
		}
	}
	return false
}

// giveBackQueue gives the bundles back of which units have not started.
func (s *state) giveBackQueue(sh *shard, cause error) {
	for _, t := range sh.queue {
		if !t.bundle.dropped {
			s.discard(t.bundle)
		}
	}
	sh.queue = nil
	s.cancelDropped(cause)
}
