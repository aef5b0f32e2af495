package steward

import (
	"context"
	"time"
)

// beatEvery is how often a steward looks whether its machine has slept: well within the time that a lender
// listens before it lends.
const beatEvery = 5 * time.Second

// Watch notices, until ctx ends, that this machine has slept, and calls woke then, which must not block.
func (s *Steward) Watch(ctx context.Context, woke func()) {
	ticker := time.NewTicker(beatEvery)
	defer ticker.Stop()
	for {
		if s.looked(time.Now()) {
			s.log.Info("this machine has slept: its leases are void, and it listens before it lends")
			woke()
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// looked is Watch's look: it reports whether the machine has slept since the last one, be it that an exchange was
// first to notice.
func (s *Steward) looked(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beat(now)
	slept := s.slept
	s.awake, s.slept = now.Round(0), false
	return slept
}

// beat notices whether the machine has slept since Watch last looked, by the wall clock, since the other stands
// still meanwhile; one that was set back far may hide a sleep. Jobs may have ended and others may lend its shards by
// now: whoever has slept begins anew, as after a restart. Without Watch it does nothing. The caller holds the lock.
func (s *Steward) beat(now time.Time) {
	if s.awake.IsZero() || now.Round(0).Sub(s.awake).Abs() <= s.o.Lease.TTL {
		return
	}
	s.awake, s.slept = now.Round(0), true
	clear(s.shards)
}
