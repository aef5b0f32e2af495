package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"idlegrid/agent/executor/internal/guestfs"
	"idlegrid/agent/executor/internal/wire"
	gridv1 "idlegrid/proto/grid/v1"
)

// stream sends what a guest writes to the parent at once, so that it is there whatever happens to this
// process, up to a limit.
type stream struct {
	out  *wire.Writer
	wrap func([]byte) *gridv1.ExecutorReply
	left int64
	tick func()
	// atLimit is called with the first bytes beyond the limit.
	atLimit func()
	refuse  error // what writes beyond the limit get: an error for the guest, or nil to drop what it writes
	over    bool
	log     *guestfs.Log // of all that was sent; nil: none is kept
	// err is an error of the pipe to the parent.
	err error
}

// Write sends p, or as much of it as the limit leaves.
func (s *stream) Write(p []byte) (int, error) {
	s.tick()
	n := min(int64(len(p)), s.left)
	s.send(p[:n])
	s.left -= n
	if n == int64(len(p)) {
		return len(p), nil
	}
	if !s.over {
		s.over = true
		s.atLimit()
	}
	if s.refuse != nil {
		return 0, s.refuse
	}
	return len(p), nil
}

func (s *stream) send(p []byte) {
	if s.log != nil {
		s.log.Append(p)
	}
	s.emit(p)
}

// emit sends what is in the log already.
func (s *stream) emit(p []byte) {
	for len(p) > 0 && s.err == nil {
		n := min(len(p), wire.Piece)
		s.err = s.out.Send(s.wrap(p[:n]))
		p = p[n:]
	}
}

// restore sends on what the log holds, of a checkpoint, and goes on from there.
func (s *stream) restore(over bool) {
	buf := make([]byte, wire.Piece)
	for at := int64(0); at < s.log.Size(); {
		n := s.log.ReadAt(buf, at)
		s.emit(buf[:n])
		at += int64(n)
	}
	s.left, s.over = max(0, s.left-s.log.Size()), over
}

func stdoutReply(p []byte) *gridv1.ExecutorReply {
	return &gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Stdout{Stdout: p}}
}

func stderrReply(p []byte) *gridv1.ExecutorReply {
	return &gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Stderr{Stderr: p}}
}

// newStdout returns a stream that is like a full disk beyond its limit.
func newStdout(out *wire.Writer, limit int64, tick func()) *stream {
	return &stream{out: out, wrap: stdoutReply, left: limit, tick: tick, atLimit: func() {}, refuse: syscall.EIO}
}

// CutMark is what stands in standard error where the rest was dropped.
func CutMark(limit int64) string { return fmt.Sprintf("\n[cut here: over %d bytes]\n", limit) }

// newStderr returns a stream that keeps the first part, says so, and drops the rest.
func newStderr(out *wire.Writer, limit int64, tick func()) *stream {
	s := &stream{out: out, wrap: stderrReply, left: limit, tick: tick}
	s.atLimit = func() { s.send([]byte(CutMark(limit))) }
	return s
}

// stdin is a guest's standard input. It is not an *os.File to wazero, which would let the guest wait on it
// in ways of the operating system.
type stdin struct {
	file *os.File
	tick func()
	err  error

	offset int64
}

// Read reads on.
func (s *stdin) Read(p []byte) (int, error) {
	s.tick()
	n, err := s.file.Read(p)
	s.offset += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
