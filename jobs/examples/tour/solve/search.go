package solve

import "math/rand/v2"

const (
	// longest is how many airports an Or-opt move takes along at most.
	longest = 3
	// stretch is how many airports there are at most in each of the two stretches that a kick swaps. Fifty is much
	// better than five for the same time: some large part of the tour must be able to change at once.
	stretch = 50
	// tiny is the km, 0.1 mm, up to which a gain is taken for rounding. Chasing those could go round in circles.
	tiny = 1e-7
)

// search is a tour under improvement: its cycle, and the airports around which something has changed.
type search struct {
	*globe
	*cycle
	queue  []int32 // airports to look at
	queued []bool  // those that are in the queue: the complement of the "don't look" bits
}

func newSearch(g *globe, order []int32) *search {
	return &search{globe: g, cycle: newCycle(order), queued: make([]bool, len(order))}
}

// look puts airports into the queue, each at most once.
func (s *search) look(airports ...int32) {
	for _, a := range airports {
		if !s.queued[a] {
			s.queued[a] = true
			s.queue = append(s.queue, a)
		}
	}
}

// descend makes improving moves until no airport in the queue has one, and returns the km gained. It ends because
// each move makes the tour shorter.
func (s *search) descend() float64 {
	gained := 0.0
	for len(s.queue) > 0 {
		a := s.queue[len(s.queue)-1]
		s.queue = s.queue[:len(s.queue)-1]
		s.queued[a] = false
		for gain := s.improve(a); gain > 0; gain = s.improve(a) {
			gained += gain
		}
	}
	return gained
}

// improve makes one move at a and returns its gain in km, or makes none and returns zero.
func (s *search) improve(a int32) float64 {
	for _, forward := range []bool{true, false} {
		if gain := s.twoOpt(a, forward); gain > 0 {
			return gain
		}
		if gain := s.orOpt(a, forward); gain > 0 {
			return gain
		}
	}
	return 0
}

// step is next, or prev when not forward.
func (s *search) step(a int32, forward bool) int32 {
	if forward {
		return s.next(a)
	}
	return s.prev(a)
}

// twoOpt replaces the edge from a to its successor and another edge by a shorter pair.
func (s *search) twoOpt(a int32, forward bool) float64 {
	b := s.step(a, forward)
	ab := s.km(a, b)
	near, km := s.row(a)
	for i, c := range near {
		if km[i] >= ab { // one of the two new edges must be shorter than the old one beside it
			break
		}
		d := s.step(c, forward)
		gain := ab + s.km(c, d) - km[i] - s.km(b, d)
		if gain > tiny {
			s.reconnect(a, b, c, d)
			s.look(a, b, c, d)
			return gain
		}
	}
	return 0
}

// orOpt moves a stretch of one to three airports that begins at a to where a has a near neighbour.
func (s *search) orOpt(a int32, forward bool) float64 {
	before := s.step(a, !forward)
	edge := s.km(before, a)
	if _, km := s.row(a); km[0] >= edge {
		return 0
	}
	last := a
	for size := 1; size <= longest; size++ {
		if size > 1 {
			last = s.step(last, forward)
		}
		after := s.step(last, forward)
		m := move{shift: shift{before: before, first: a, last: last, after: after}, forward: forward}
		m.freed = edge + s.km(last, after) - s.km(before, after)
		m.reach = min(edge, m.freed)
		if gain := s.place(m); gain > 0 {
			return gain
		}
	}
	return 0
}

// move is a shift whose new place is still to be found.
type move struct {
	shift
	forward bool    // from first to last is forward
	freed   float64 // km that taking the stretch out saves
	reach   float64 // km: the new neighbour of first is nearer than that
}

// place finds a better place for a stretch, and moves it there.
func (s *search) place(m move) float64 {
	near, km := s.row(m.first)
	for i, c := range near {
		if km[i] >= m.reach {
			break
		}
		if s.within(c, m) {
			continue
		}
		for _, turned := range []bool{false, true} {
			d := s.step(c, m.forward != turned)
			if d == m.first || d == m.last {
				continue
			}
			gain := m.freed + s.km(c, d) - km[i] - s.km(m.last, d)
			if gain <= tiny {
				continue
			}
			m.left, m.right, m.turned = c, d, turned
			if turned {
				m.left, m.right = d, c
			}
			s.shift(m.shift)
			s.look(m.before, m.first, m.last, m.after, m.left, m.right)
			return gain
		}
	}
	return 0
}

// within reports whether c is in the stretch itself.
func (s *search) within(c int32, m move) bool {
	for a := m.first; a != c; a = s.step(a, m.forward) {
		if a == m.last {
			return false
		}
	}
	return true
}

// kick swaps two neighbouring stretches at a random place and returns the km lost. Short moves do not simply undo
// it, and find a better way through those airports once in a while.
func (s *search) kick(rng *rand.Rand) float64 {
	reach := min(stretch, (len(s.order)-2)/2)
	at := rng.IntN(len(s.order))
	mid := at + 1 + rng.IntN(reach)
	end := mid + 1 + rng.IntN(reach)
	m := shift{
		before: s.stop(at), first: s.stop(at + 1),
		last: s.stop(mid), after: s.stop(mid + 1),
		left: s.stop(end), right: s.stop(end + 1),
	}
	lost := s.km(m.before, m.after) + s.km(m.left, m.first) + s.km(m.last, m.right) -
		s.km(m.before, m.first) - s.km(m.last, m.after) - s.km(m.left, m.right)
	s.shift(m)
	s.look(m.before, m.first, m.last, m.after, m.left, m.right)
	return lost
}

// stop returns the airport at a position, counted on past the end.
func (s *search) stop(i int) int32 { return s.order[i%len(s.order)] }
