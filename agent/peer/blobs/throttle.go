package blobs

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// leastRate is how many bytes a second move at least: with less the other end of a transfer would give it up.
const leastRate = 2 * minRate

// Throttle bounds how fast blobs move through this peer, so that its owner's programs have the network and the disk. The
// zero Throttle and nil bound nothing.
type Throttle struct {
	network, disk atomic.Pointer[rate.Limiter] // nil: no bound
	written       atomic.Int64
}

// Written returns how many bytes of blobs were given to the disk so far.
func (t *Throttle) Written() int64 { return t.written.Load() }

// Set bounds the bytes a second of blobs that travel, both ways and all transfers together, and those that are written. A
// bound below 32 KiB counts as that, and 0 as well; one of a TiB or more is none.
func (t *Throttle) Set(network, disk int64) {
	t.network.Store(limiterOf(network))
	t.disk.Store(limiterOf(disk))
}

// Lift removes the bounds. Who waits already goes on waiting.
func (t *Throttle) Lift() {
	t.network.Store(nil)
	t.disk.Store(nil)
}

const noBound = 1 << 40

// limiterOf lets a chunk through at once: it is the unit in which blobs travel.
func limiterOf(bytes int64) *rate.Limiter {
	if bytes >= noBound {
		return nil
	}
	return rate.NewLimiter(rate.Limit(max(bytes, leastRate)), chunkSize)
}

func (t *Throttle) networkLimit() *rate.Limiter {
	if t == nil {
		return nil
	}
	return t.network.Load()
}

func (t *Throttle) diskLimit() *rate.Limiter {
	if t == nil {
		return nil
	}
	return t.disk.Load()
}

// wait waits until n bytes, a chunk at most, may move, and returns how long that took.
func wait(ctx context.Context, l *rate.Limiter, n int) (time.Duration, error) {
	if l == nil {
		return 0, nil
	}
	begun := time.Now()
	err := l.WaitN(ctx, min(n, chunkSize))
	return time.Since(begun), err
}

// paced is what is written of a blob, as fast as the disk's bound lets it be read.
type paced struct {
	io.Reader
	throttle *Throttle
}

// Read implements io.Reader.
func (p paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b[:min(len(b), chunkSize)])
	if p.throttle != nil {
		p.throttle.written.Add(int64(n))
	}
	// A write to the disk has no context; a chunk waits for seconds at most.
	_, werr := wait(context.Background(), p.throttle.diskLimit(), n)
	if err == nil {
		err = werr
	}
	return n, err
}
