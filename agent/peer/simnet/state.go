package simnet

import (
	"os"
	"sync"
	"time"
)

// state is a lock whose holder can wait for a change, with a deadline. It waits on channels and timers, not
// on the lock, so that virtual time goes on meanwhile.
type state struct {
	sync.Mutex
	changed chan struct{} // closed and replaced at each change
}

func newState() *state { return &state{changed: make(chan struct{})} }

// broadcast wakes everybody who waits. The lock is held.
func (s *state) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// wait gives the lock up until the next change and takes it again. Past the deadline it fails; a zero
// deadline is none.
func (s *state) wait(deadline time.Time) error {
	changed := s.changed
	var timeout <-chan time.Time
	if !deadline.IsZero() {
		left := time.Until(deadline)
		if left <= 0 {
			return os.ErrDeadlineExceeded
		}
		timer := time.NewTimer(left)
		defer timer.Stop()
		timeout = timer.C
	}
	s.Unlock()
	defer s.Lock()
	select {
	case <-changed:
	case <-timeout: // the caller looks again and comes back here if there is still nothing
	}
	return nil
}

// past reports whether the deadline is over.
func past(deadline time.Time) bool { return !deadline.IsZero() && time.Until(deadline) <= 0 }
