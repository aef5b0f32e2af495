package solve

// cycle is a closed tour that can be changed and changed back. Its one change is flip, which turns a stretch of
// the tour around; 2-opt, Or-opt and kicks are flips in a row.
type cycle struct {
	order []int32 // airports by position
	at    []int32 // position by airport
	flips []span  // every flip since the last mark
}

// span is the positions from first to last, over the end of the order where last is smaller.
type span struct{ first, last int32 }

func newCycle(order []int32) *cycle {
	c := &cycle{order: order, at: make([]int32, len(order))}
	for i, a := range order {
		c.at[a] = int32(i)
	}
	return c
}

func (c *cycle) next(a int32) int32 {
	i := int(c.at[a]) + 1
	if i == len(c.order) {
		i = 0
	}
	return c.order[i]
}

func (c *cycle) prev(a int32) int32 {
	i := int(c.at[a])
	if i == 0 {
		i = len(c.order)
	}
	return c.order[i-1]
}

// flip replaces the edges (a, next a) and (b, next b) by (a, b) and (next a, next b).
func (c *cycle) flip(a, b int32) {
	s := span{c.at[c.next(a)], c.at[b]}
	c.flips = append(c.flips, s)
	c.turn(s)
}

// turn reverses a span, or all that is outside of it where that is shorter: on a closed tour both are the same
// change. Turned twice, all is as it was.
func (c *cycle) turn(s span) {
	n := int32(len(c.order)) // at most route.MaxAirports
	size := s.last - s.first + 1
	if size <= 0 {
		size += n
	}
	i, j := s.first, s.last
	if 2*size > n {
		i, j, size = wrap(s.last+1, n), wrap(s.first-1+n, n), n-size
	}
	order, at := c.order, c.at
	for range size / 2 {
		a, b := order[i], order[j]
		order[i], at[b] = b, i
		order[j], at[a] = a, j
		if i++; i == n {
			i = 0
		}
		if j--; j < 0 {
			j = n - 1
		}
	}
}

// wrap brings a position from 0 to 2n-1 back onto the tour.
func wrap(i, n int32) int32 {
	if i >= n {
		return i - n
	}
	return i
}

// mark forgets the flips: this is where back leads to from now on.
func (c *cycle) mark() { c.flips = c.flips[:0] }

// back undoes every flip since the mark.
func (c *cycle) back() {
	for i := len(c.flips) - 1; i >= 0; i-- {
		c.turn(c.flips[i])
	}
	c.mark()
}

// reconnect replaces the edges a-b and c-d, which run the same way along the tour, by a-c and b-d. This is the
// 2-opt move. Which way that is does not matter to the caller, and may be another one afterwards.
func (c *cycle) reconnect(a, b, x, y int32) {
	if c.next(a) == b {
		c.flip(a, x)
	} else {
		c.flip(b, y)
	}
}

// shift takes a stretch out of the tour and puts it between two others. This is the Or-opt move, and with a long
// stretch the double bridge.
func (c *cycle) shift(m shift) {
	c.reconnect(m.before, m.first, m.left, m.right)
	c.reconnect(m.before, m.left, m.after, m.last)
	if !m.turned {
		c.reconnect(m.left, m.last, m.first, m.right)
	}
}

// shift names the airports around a stretch and around its new place, in one direction of the tour:
//
//	before [first … last] after … left right   becomes   before after … left [first … last] right
//
// or left [last … first] right when turned.
type shift struct {
	before, first, last, after, left, right int32
	turned                                  bool
}
