package harvest

import (
	"time"

	"idlegrid/agent/internal/harvest/signals"
)

// waiting is a Signals that also sees what programs beside this agent wait for.
type waiting interface {
	// Waited is asked once a second, and only while units run, stand frozen, or blobs are written.
	Waited() (w signals.Waited, known bool)
}

// lull is how long others must not have waited until they are disturbed anew.
const lull = 30 * time.Second

// moment is what one look at others' waiting saw.
type moment struct {
	at      time.Time
	working bool  // units ran or stood frozen
	wrote   int64 // bytes of blobs, so far
	waited  signals.Waited
}

// disturbances finds in consecutive moments what disturbed others.
type disturbances struct {
	last             moment // zero: nothing to compare with
	swapped, stalled time.Time
}

// see returns the disturbances that begin in the time since the last moment. What goes on, or comes again before a lull,
// counts once. A time in which the PC may have slept, and the first moment, tell nothing.
func (s disturbances) see(m moment) (disturbances, []Disturbance) {
	last := s.last
	s.last = m
	span := m.at.Sub(last.at)
	if last.at.IsZero() || span <= 0 || span > maxGap {
		return s, nil
	}
	share := func(before, now time.Duration) float64 { return (now - before).Seconds() / span.Seconds() }
	var began []Disturbance
	note := func(kind Disturbance, when *time.Time) {
		if when.IsZero() || m.at.Sub(*when).Abs() >= lull { // of a clock that was set back as well
			began = append(began, kind)
		}
		*when = m.at
	}
	if last.working && m.working && share(last.waited.Memory, m.waited.Memory) >= pressed {
		note(Swapped, &s.swapped)
	}
	if m.wrote > last.wrote && share(last.waited.Disk, m.waited.Disk) >= diskBusy {
		note(Stalled, &s.stalled)
	}
	return s, began
}

// attend counts what disturbs others. Where nothing runs and nothing is written it asks for nothing; of a write that
// comes then, the first second is not seen.
func (h *Harvest) attend(working bool, now time.Time) {
	others, ok := h.o.Signals.(waiting)
	if !ok {
		return
	}
	m := moment{at: now, working: working}
	if h.o.Wrote != nil {
		m.wrote = h.o.Wrote()
	}
	if last := h.disturb.last; !working && m.wrote == last.wrote {
		h.disturb.last = moment{wrote: m.wrote}
		return
	} else if span := now.Sub(last.at); span >= 0 && span < second {
		return
	}
	m.waited, ok = others.Waited()
	var began []Disturbance
	if ok {
		h.disturb, began = h.disturb.see(m)
	} else {
		h.disturb.last = moment{wrote: m.wrote}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unseen = !ok
	for _, kind := range began {
		h.figures.disturbed(kind)
		h.changed = true
	}
}
