package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	gridv1 "idlegrid/proto/grid/v1"

	"google.golang.org/protobuf/proto"
)

func reply(n int) *gridv1.ExecutorReply {
	return &gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Stdout{Stdout: []byte(strings.Repeat("x", n))}}
}

func TestRoundTrip(t *testing.T) {
	var pipe bytes.Buffer
	w, r := NewWriter(&pipe), NewReader(&pipe, MaxReply)
	sizes := []int{0, 1, 100, Piece, MaxReply - 100, 5}
	for _, n := range sizes {
		if err := w.Send(reply(n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range sizes {
		got := new(gridv1.ExecutorReply)
		if err := r.Receive(got); err != nil || !proto.Equal(got, reply(n)) {
			t.Fatalf("a reply of %d bytes came as %d, %v", n, len(got.GetStdout()), err)
		}
	}
	if err := r.Receive(new(gridv1.ExecutorReply)); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// TestBound checks both sides of the bound.
func TestBound(t *testing.T) {
	for _, tt := range []struct {
		bound int
		ok    bool
	}{{proto.Size(reply(1000)), true}, {proto.Size(reply(1000)) - 1, false}} {
		var pipe bytes.Buffer
		if err := NewWriter(&pipe).Send(reply(1000)); err != nil {
			t.Fatal(err)
		}
		if err := NewReader(&pipe, tt.bound).Receive(new(gridv1.ExecutorReply)); (err == nil) != tt.ok {
			t.Errorf("bound %d: %v", tt.bound, err)
		}
	}
}

func TestCutShort(t *testing.T) {
	var pipe bytes.Buffer
	if err := NewWriter(&pipe).Send(reply(100)); err != nil {
		t.Fatal(err)
	}
	frame := pipe.Bytes()
	for n := range len(frame) {
		err := NewReader(bytes.NewReader(frame[:n]), MaxReply).Receive(new(gridv1.ExecutorReply))
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Fatalf("%d of %d bytes: %v, expected %v", n, len(frame), err, want)
		}
	}
}

// FuzzReceive checks that whatever a child writes ends in messages and an error, within the bound.
func FuzzReceive(f *testing.F) {
	var pipe bytes.Buffer
	if err := errors.Join(NewWriter(&pipe).Send(reply(3)), NewWriter(&pipe).Send(&gridv1.ExecutorReply{})); err != nil {
		f.Fatal(err)
	}
	f.Add(pipe.Bytes())
	f.Add([]byte{0, 0, 0, 1, 0xff})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		const bound = 1 << 10
		r := NewReader(bytes.NewReader(b), bound)
		for {
			m := new(gridv1.ExecutorReply)
			if err := r.Receive(m); err != nil {
				return
			}
			if proto.Size(m) > bound {
				t.Fatalf("a message of %d bytes", proto.Size(m))
			}
		}
	})
}

func TestHeaderIsBigEndian(t *testing.T) {
	var pipe bytes.Buffer
	if err := NewWriter(&pipe).Send(reply(300)); err != nil {
		t.Fatal(err)
	}
	if n := binary.BigEndian.Uint32(pipe.Bytes()); int(n) != pipe.Len()-4 {
		t.Errorf("the header says %d of %d bytes", n, pipe.Len()-4)
	}
}
