package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// clockPeers is with how many peers the clock is compared, those asked last; clockJudges is how many make a
	// judgement.
	clockPeers  = 5
	clockJudges = 3
	// clockOff is how far from their median the clock may be.
	clockOff = 5 * time.Minute
	// clockTrip bounds the round trip of a comparison: the error is at most half of it.
	clockTrip = 20 * time.Second
)

// Clock is how this machine's clock compares with those of the peers asked last.
type Clock struct {
	Ahead    time.Duration // of the median; 0 without any
	Compared int           // peers
	Off      bool          // so many say so that nothing must be expired or deleted by this clock
}

// clocks compares this machine's clock with those of others.
type clocks struct {
	mu      sync.Mutex // guards samples
	samples []clockSample
}

// clockSample is how far this clock was ahead of one peer's.
type clockSample struct {
	peer  jobs.KeyID
	ahead time.Duration
}

// add takes what a peer's clock showed between two moments of this one. What took too long says nothing, and so
// does a clock that was set meanwhile. It returns the new judgement, and whether it changed.
func (c *clocks) add(from jobs.KeyID, sent, shown, received time.Time) (now Clock, changed bool) {
	sent, received = sent.Round(0), received.Round(0) // without the monotonic reading: as the clock shows it
	trip := received.Sub(sent)
	c.mu.Lock()
	defer c.mu.Unlock()
	before := judge(c.samples)
	if trip < 0 || trip > clockTrip {
		return before, false
	}
	c.samples = slices.DeleteFunc(c.samples, func(s clockSample) bool { return s.peer == from })
	c.samples = append(c.samples, clockSample{from, sent.Add(trip / 2).Sub(shown)})
	c.samples = c.samples[max(0, len(c.samples)-clockPeers):]
	now = judge(c.samples)
	return now, now.Off != before.Off
}

// look returns the present judgement.
func (c *clocks) look() Clock {
	c.mu.Lock()
	defer c.mu.Unlock()
	return judge(c.samples)
}

// judge compares with the median, the mean of the middle two where there is no middle one.
func judge(samples []clockSample) Clock {
	n := len(samples)
	if n == 0 {
		return Clock{}
	}
	ahead := make([]time.Duration, 0, n)
	for _, s := range samples {
		ahead = append(ahead, s.ahead)
	}
	slices.Sort(ahead)
	low, high := ahead[(n-1)/2], ahead[n/2]
	median := low + (high-low)/2
	return Clock{Ahead: median, Compared: n, Off: n >= clockJudges && (median > clockOff || median < -clockOff)}
}

// compared takes a peer's clock, and says so when it shows that this one is off.
func (n *Node) compared(with jobs.KeyID, sent, shown, received time.Time) {
	clock, changed := n.clocks.add(with, sent, shown, received)
	switch {
	case changed && clock.Off:
		n.log.Warn("this machine's clock is off: nothing is expired or deleted until it is right",
			"ahead", clock.Ahead, "peers", clock.Compared)
	case changed:
		n.log.Info("this machine's clock is right again", "ahead", clock.Ahead, "peers", clock.Compared)
	}
}

// Clock returns how this machine's clock compares with those of peers.
func (n *Node) Clock() Clock { return n.clocks.look() }

// gridTime returns what time it is for what expires: by this machine's clock or, where that is off, by those of its peers. It
// goes on with live jobs, and starts nothing of jobs that are past their time.
func (n *Node) gridTime() time.Time {
	now, clock := n.o.Wall(), n.Clock()
	if clock.Off {
		return now.Add(-clock.Ahead)
	}
	return now
}

// withClock is a connection that takes the peer's clock from the replies that carry it.
type withClock struct {
	grpc.ClientConnInterface
	node *Node
	peer jobs.KeyID
}

// Invoke implements grpc.ClientConnInterface.
func (c withClock) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	sent := c.node.o.Wall()
	err := c.ClientConnInterface.Invoke(ctx, method, args, reply, opts...)
	if r, ok := reply.(*gridv1.SyncReply); ok && err == nil && r.GetNowMs() > 0 && r.GetNowMs() <= maxMillis {
		c.node.compared(c.peer, sent, time.UnixMilli(r.GetNowMs()), c.node.o.Wall())
	}
	return err
}

// maxMillis is in the year 9999: what a peer says lies in the range where times can be subtracted and printed.
const maxMillis = 253402300799_000
