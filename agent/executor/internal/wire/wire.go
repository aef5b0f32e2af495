// Package wire frames protobuf messages on the pipes between an agent and its executor processes: four
// bytes of length, big-endian, then the message.
//
// It promises that no more than the reader's bound is ever held for a frame, whatever the other side
// writes. It does not know what the messages mean, and it is not safe for concurrent use.
package wire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
)

// Bounds of a frame, in bytes. Requests come from the agent, which is trusted, and name every input of a
// job; replies come from a process that runs a stranger's program, and carry output in pieces.
const (
	MaxRequest = 64 << 20
	MaxReply   = 1 << 20
	// Piece is how much output one reply carries.
	Piece = 256 << 10
)

const headerSize = 4

// Writer writes frames.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter returns a Writer to w. Every frame is one call of w.Write.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Send writes one message.
func (w *Writer) Send(m proto.Message) error {
	buf, err := proto.MarshalOptions{}.MarshalAppend(append(w.buf[:0], 0, 0, 0, 0), m)
	if err != nil {
		return fmt.Errorf("encode a message to or from an executor: %w", err)
	}
	if cap(buf) <= MaxReply {
		w.buf = buf
	}
	if len(buf)-headerSize > MaxRequest {
		return fmt.Errorf("message of %d bytes, the limit is %d", len(buf)-headerSize, MaxRequest)
	}
	binary.BigEndian.PutUint32(buf, uint32(len(buf)-headerSize))
	_, err = w.w.Write(buf)
	return err
}

// Reader reads frames.
type Reader struct {
	r   *bufio.Reader
	max int
	buf []byte
}

// NewReader returns a Reader that refuses frames of more than limit bytes.
func NewReader(r io.Reader, limit int) *Reader {
	return &Reader{r: bufio.NewReaderSize(r, 64<<10), max: limit}
}

// Receive reads one message into m. It returns io.EOF where the other side ended between two frames, and
// io.ErrUnexpectedEOF where it ended within one.
func (r *Reader) Receive(m proto.Message) error {
	var header [headerSize]byte
	if _, err := io.ReadFull(r.r, header[:]); err != nil {
		return err
	}
	n := int64(binary.BigEndian.Uint32(header[:]))
	if n > int64(r.max) {
		return fmt.Errorf("frame of %d bytes, the limit is %d", n, r.max)
	}
	if int64(cap(r.buf)) < n {
		r.buf = make([]byte, n)
	}
	buf := r.buf[:n]
	if _, err := io.ReadFull(r.r, buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	if err := proto.Unmarshal(buf, m); err != nil {
		return fmt.Errorf("decode a message to or from an executor: %w", err)
	}
	return nil
}
