package blobs

import (
	"sync"
	"time"

	"idlegrid/jobs"
)

const (
	// maxStrikes is how many times a peer may give bytes that are not the blob's before it is left alone.
	maxStrikes = 3
	// strikeTerm is for how long it is left alone, and how long a strike counts.
	strikeTerm = time.Hour
)

// strikes counts the bad blobs that each peer gave. It is this peer's own opinion and goes nowhere.
type strikes struct {
	mu     sync.Mutex // guards counts
	counts map[jobs.AgentID]strike
}

type strike struct {
	count int
	last  time.Time
}

func (s *strikes) trusted(id jobs.AgentID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, ok := s.counts[id]
	if ok && time.Since(k.last) >= strikeTerm {
		delete(s.counts, id)
		return true
	}
	return k.count < maxStrikes
}

func (s *strikes) add(id jobs.AgentID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = make(map[jobs.AgentID]strike)
	}
	s.counts[id] = strike{s.counts[id].count + 1, time.Now()}
}
