package blobs

import (
	"context"
	"errors"
	"io"
	"time"

	"idlegrid/jobs"
)

const (
	// chunkSize is how much of a blob travels in one message: large enough that messages cost little, small
	// enough that a chunk passes within maxStall on the slowest link served.
	chunkSize = 256 << 10
	// maxStall is how long a transfer may stand still. It covers connecting and the other side's fsync.
	maxStall = 20 * time.Second
	// minRate, in bytes a second, is what a transfer must average once maxStall is used up, so that a byte
	// now and then does not hold a place for ever.
	minRate = 16 << 10
)

// pace gives up on a peer that stalls or trickles. Neither end of a gRPC stream has a deadline for one
// message, so each step that blocks on the stream runs in a goroutine of its own. A step that is given up
// ends when its stream does: the caller must then return from the handler, or cancel the stream's context.
type pace struct {
	start    time.Time
	moved    int64           // bytes so far
	ctx      context.Context // of the stream
	throttle *Throttle       // of this end
}

func newPace(ctx context.Context, t *Throttle) *pace {
	return &pace{start: time.Now(), ctx: ctx, throttle: t}
}

// hold waits until n bytes may move. That is no fault of the peer's.
func (p *pace) hold(n int) error {
	took, err := wait(p.ctx, p.throttle.networkLimit(), n)
	p.start = p.start.Add(took)
	return err
}

// do runs a step and returns its error, or one of kind Unavailable when it takes too long. Then the step goes
// on alone, and what it writes must not be read.
func (p *pace) do(step func() error) error {
	done := make(chan error, 1)
	go func() { done <- step() }()
	timer := time.NewTimer(p.left())
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return jobs.Errorf(jobs.Unavailable, "the peer is too slow: %d bytes in %v",
			p.moved, time.Since(p.start).Round(time.Second))
	}
}

func (p *pace) left() time.Duration {
	earned := time.Duration(p.moved/minRate) * time.Second
	return min(maxStall, time.Until(p.start.Add(maxStall+earned)))
}

// incoming reads a stream of data messages as bytes.
type incoming struct {
	pace *pace
	next func() ([]byte, error) // blocks on the stream; io.EOF after the last message
	rest []byte
	err  error // why the stream ended, io.EOF included
}

// Read implements io.Reader.
func (r *incoming) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.err = r.fill()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *incoming) fill() error {
	var data []byte
	err := r.pace.do(func() (err error) {
		data, err = r.next()
		return err
	})
	if err != nil {
		return err
	}
	if len(data) == 0 {
		return jobs.Errorf(jobs.Invalid, "a message without data")
	}
	r.pace.moved += int64(len(data))
	r.rest = data
	return r.pace.hold(len(data))
}

// failed returns the error that the stream ended with, if it was one: the fault is then not in the bytes.
func (r *incoming) failed() error {
	if errors.Is(r.err, io.EOF) {
		return nil
	}
	return r.err
}

// sendChunks cuts the size bytes of r into messages. The data of a message is valid until send returns.
func sendChunks(p *pace, r io.Reader, size int64, send func(data []byte) error) error {
	buf := make([]byte, min(size, chunkSize))
	for left := size; left > 0; left = size - p.moved {
		buf = buf[:min(left, chunkSize)]
		_, err := io.ReadFull(r, buf)
		if errors.Is(err, io.EOF) || err == io.ErrUnexpectedEOF {
			return jobs.Errorf(jobs.Corrupt, "the blob ends before its %d bytes", size)
		}
		if err != nil {
			return err
		}
		if err := p.hold(len(buf)); err != nil {
			return err
		}
		if err := p.do(func() error { return send(buf) }); err != nil {
			return err
		}
		p.moved += int64(len(buf))
	}
	return nil
}
