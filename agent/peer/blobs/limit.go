package blobs

import (
	"context"
	"sync"

	"idlegrid/jobs"
)

// How many transfers a Service serves at a time. A Client keeps to half of what one caller may have, as the two
// ends do not see a transfer end at the same moment.
const (
	maxTransfers       = 64
	maxCallerTransfers = 8
	maxPeerTransfers   = maxCallerTransfers / 2
	// maxReaders is how many may read one blob of at least largeBlob bytes here at a time. Who comes then is better
	// off with one of those who have just got it: a program reaches a whole office in the time of a few copies.
	maxReaders = 2
	largeBlob  = 4 << 20
)

// limiter counts the transfers of a Service, in all, by caller, and of large blobs by reader, and refuses what is too
// much.
type limiter struct {
	mu       sync.Mutex // guards everything below
	total    int
	byCaller map[jobs.KeyID]int  // no zero counts
	readers  map[jobs.Digest]int // no zero counts
}

// read counts a reader of a blob. It returns a function that ends that, or an error of kind Exhausted.
func (l *limiter) read(b jobs.Blob) (leave func(), err error) {
	if b.Size < largeBlob {
		return func() {}, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readers == nil {
		l.readers = make(map[jobs.Digest]int)
	}
	if l.readers[b.Digest] >= maxReaders {
		return nil, jobs.Errorf(jobs.Exhausted, "%d are reading blob %s here; ask others, or try again", maxReaders, short(b.Digest))
	}
	l.readers[b.Digest]++
	return func() { l.done(b.Digest) }, nil
}

func (l *limiter) done(d jobs.Digest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readers[d]--; l.readers[d] == 0 {
		delete(l.readers, d)
	}
}

// enter returns a function that ends the transfer, or an error of kind Exhausted.
func (l *limiter) enter(caller jobs.KeyID) (leave func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxTransfers || l.byCaller[caller] >= maxCallerTransfers {
		return nil, jobs.Errorf(jobs.Exhausted, "too many transfers at once: %d, of which %d are yours; try again",
			l.total, l.byCaller[caller])
	}
	if l.byCaller == nil {
		l.byCaller = make(map[jobs.KeyID]int)
	}
	l.total++
	l.byCaller[caller]++
	return func() { l.leave(caller) }, nil
}

func (l *limiter) leave(caller jobs.KeyID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	l.byCaller[caller]--
	if l.byCaller[caller] == 0 {
		delete(l.byCaller, caller)
	}
}

// gate lets at most width callers through at a time for each key; the others wait.
type gate[K comparable] struct {
	width int

	mu    sync.Mutex // guards lanes
	lanes map[K]*lane
}

type lane struct {
	slots chan struct{}
	users int // inside or waiting; a lane without any is dropped
}

func newGate[K comparable](width int) *gate[K] {
	return &gate[K]{width: width, lanes: make(map[K]*lane)}
}

// enter waits for a place and returns the function that gives it back.
func (g *gate[K]) enter(ctx context.Context, key K) (leave func(), err error) {
	l := g.join(key)
	select {
	case l.slots <- struct{}{}:
		return func() { <-l.slots; g.part(key, l) }, nil
	case <-ctx.Done():
		g.part(key, l)
		return nil, context.Cause(ctx)
	}
}

func (g *gate[K]) join(key K) *lane {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.lanes[key]
	if !ok {
		l = &lane{slots: make(chan struct{}, g.width)}
		g.lanes[key] = l
	}
	l.users++
	return l
}

func (g *gate[K]) part(key K, l *lane) {
	g.mu.Lock()
	defer g.mu.Unlock()
	l.users--
	if l.users == 0 {
		delete(g.lanes, key)
	}
}
