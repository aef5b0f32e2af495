package worker

import (
	"math"
	"slices"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// emptyBeforeNext is how often in a row a steward may say that nothing is open before another is asked.
	emptyBeforeNext = 3
	// barrenMargin is for leases that were just lent when a shard stopped moving: they last up to ten minutes.
	barrenMargin = 15 * time.Minute
	// barrenMost bounds how long a shard may stand still, for bundles of many long units.
	barrenMost = 24 * time.Hour
	// doubtFor is how long a steward is passed over that keeps a shard from getting on.
	doubtFor = time.Hour
)

// standing is what shows that a shard gets on, as far as its present steward lets see.
type standing struct {
	moved  time.Time     // when fewer units were open, by its word, than ever before, or this agent began to ask again
	least  uint64        // so many
	barren time.Duration // for how long since then units could have run here
	looked time.Time     // until when that is counted
}

// spokenTo starts anew with another steward, and waits anew where nobody was asked for a while: other jobs had the
// slots, here and perhaps everywhere.
func (s *shard) spokenTo(id jobs.AgentID, last, now time.Time) {
	switch {
	case s.lender != id:
		s.lender, s.standing = id, standing{moved: now, least: math.MaxUint64, looked: now}
	case now.Sub(last) > askEmpty:
		s.standing.moved, s.standing.barren, s.standing.looked = now, 0, now
	}
}

// couldRun reports whether units of a shard run here if a steward lends any: it is no steward's fault that none ends
// while the disk is full, the machine is needed or has no memory left, this agent leaves or the program does not come.
func (w *Worker) couldRun(s *shard, now time.Time) bool {
	return w.slots() > 0 && s.refusal == nil && !w.anyFrozen() && !w.unfit && w.backlog < maxBacklog && (len(s.queue) == 0 || w.mayStart(s, now)) && w.fitSoon(s, now) > 0
}

// doubt turns from a steward whose word keeps the shard from getting on: it goes on saying that nothing is open,
// or nothing of what it says is open ends, here or elsewhere, in a time in which units could run that is longer than
// they take. It lies, or its records are not those of the others. Nobody can tell that from a steward whose word is
// true; to pass over one of those costs at most that some units run twice.
func (w *Worker) doubt(s *shard, reply *gridv1.ExchangeReply, now time.Time) {
	if w.couldRun(s, now) {
		s.standing.barren += now.Sub(s.standing.looked)
	}
	s.standing.looked = now
	if open := reply.GetOpen(); open < s.standing.least {
		s.standing = standing{moved: now, least: open, looked: now}
	}
	claims := reply.GetOpen() == 0 && s.empty > 0 && s.empty%emptyBeforeNext == 0
	barren := reply.GetOpen() > 0 && s.standing.barren > s.longest()+barrenMargin
	if !claims && !barren {
		return
	}
	if barren {
		w.log.Warn("nothing comes of what a steward lends, asking another", "shard", s.id, "steward", s.lender, "since", s.standing.moved)
	}
	s.turnFrom(s.lender, now.Add(doubtFor))
}

// passOver takes those units out of the queue, from one place on, that this agent's own records say are done: its
// reports of them would only use up what it may report. It returns of how many bundles nothing is left; they are
// not held.
func (w *Worker) passOver(s *shard, from int) int {
	gone := 0
	err := w.o.Ledger(s.id, func(l *ledger.Ledger) {
		now := time.Now()
		open := map[*bundle][]uint64{}
		rest := slices.DeleteFunc(s.queue[from:], func(t task) bool {
			units, ok := open[t.bundle]
			if !ok {
				units = l.OpenUnits(t.bundle.number, now)
				open[t.bundle] = units
			}
			if _, isOpen := slices.BinarySearch(units, t.unit); isOpen {
				return false
			}
			if t.bundle.open--; t.bundle.open == 0 {
				s.discardUnstarted(t.bundle)
				gone++
			}
			return true
		})
		s.queue = s.queue[:from+len(rest)]
	})
	if err != nil {
		w.log.Debug("cannot look up lent units: the job has ended", "shard", s.id, "err", err)
	}
	return gone
}

// discardUnstarted ends the holding of a bundle of which nothing ran.
func (s *shard) discardUnstarted(b *bundle) {
	delete(s.bundles, b.number)
	s.changed = true
}

// longest is how long the units of a bundle may take.
func (s *shard) longest() time.Duration {
	m := s.job.Manifest
	if m.Timeout > barrenMost/time.Duration(m.Bundle) {
		return barrenMost
	}
	return m.Timeout * time.Duration(m.Bundle)
}
