package blobs

import "sync"

// rounds runs a costly function for many callers at once, as a sync of a folder serves all names that were
// there when it began. Callers wait for a run that begins after they came.
type rounds struct {
	run  func() error
	turn chan struct{} // holds one token: one run at a time; whoever comes meanwhile is in the next

	mu   sync.Mutex // guards next
	next *round
}

type round struct {
	done chan struct{}
	err  error // set before done is closed
}

func newRounds(run func() error) *rounds { return &rounds{run: run, turn: make(chan struct{}, 1)} }

// join returns what the run said.
func (g *rounds) join() error {
	g.mu.Lock()
	r, first := g.next, g.next == nil
	if first {
		r = &round{done: make(chan struct{})}
		g.next = r
	}
	g.mu.Unlock()
	if first {
		g.lead(r)
	}
	<-r.done
	return r.err
}

// lead runs for all who joined the round while the run before went on.
func (g *rounds) lead(r *round) {
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	g.mu.Lock()
	g.next = nil
	g.mu.Unlock()
	r.err = g.run()
	close(r.done)
}
