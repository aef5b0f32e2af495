// Package snapshot is the format of the files of a checkpoint: eight bytes that name the format and its version,
// the length of the state in four bytes, the state as an ExecutorState, and pages of its sections.
//
// A page is the index of its section among those of the state and its number in the section, four bytes each,
// and its bytes: 64 KiB, or what is left of the section. A page whose number has the highest bit set is of
// zeros, and has no bytes. Pages come in order, none twice. The index 0xffffffff ends the file. All numbers are
// little-endian.
//
// It promises that a Reader accepts nothing else, and that it holds no more than the state and a page, within
// MaxState. It does not know what the sections are for, and leaves it to others whether the bytes are those
// that were written: files are named by their digests.
package snapshot

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"

	"google.golang.org/protobuf/proto"
)

const (
	// Page is the grain of what changed.
	Page = 64 << 10
	// MaxState bounds the state in a file: 16 MiB are some thousand files with long names.
	MaxState = 16 << 20
	// Overhead is how much longer than its state and bytes a file is, beside PageOverhead for each page.
	Overhead = len(magic) + 2*wordSize
	// PageOverhead is how much longer than its bytes a page is.
	PageOverhead = 2 * wordSize

	magic    = "idlegrd\x01"
	wordSize = 4
	zeroBit  = 1 << 31
	endMark  = 1<<32 - 1

	digestSize = 32
	baseSize   = 16
)

// Keys of sections. An inode's is KeyInode and its number.
const (
	KeyMemory = 1
	KeyStdout = 2
	KeyStderr = 3
	KeyInode  = 16
)

// Length returns how long a page of a section of the given size is.
func Length(size int64, page int) int { return int(min(Page, size-int64(page)*Page)) }

// Pages returns how many pages a section of the given size has.
func Pages(size int64) int { return int((size + Page - 1) / Page) }

// Writer writes a file.
type Writer struct {
	w   io.Writer
	buf []byte
}

// NewWriter writes how a file begins.
func NewWriter(w io.Writer, s *gridv1.ExecutorState) (*Writer, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	state, err := proto.MarshalOptions{Deterministic: true}.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encode a state: %w", err)
	}
	if len(state) > MaxState {
		return nil, fmt.Errorf("state of %d bytes beside the memory and the files, the limit is %d", len(state), MaxState)
	}
	buf := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(state)))
	if _, err := w.Write(append(buf, state...)); err != nil {
		return nil, err
	}
	return &Writer{w: w}, nil
}

// Page writes a page; nil is one of zeros. Pages come in order.
func (w *Writer) Page(section, page int, data []byte) error {
	number := uint32(page)
	if data == nil {
		number |= zeroBit
	}
	w.buf = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint32(w.buf[:0], uint32(section)), number)
	if _, err := w.w.Write(w.buf); err != nil {
		return err
	}
	_, err := w.w.Write(data)
	return err
}

// End writes how a file ends.
func (w *Writer) End() error {
	_, err := w.w.Write(binary.LittleEndian.AppendUint32(w.buf[:0], endMark))
	return err
}

// errBroken is in the error of a file that no Writer wrote.
var errBroken = errors.New("broken checkpoint")

func broken(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errBroken, fmt.Sprintf(format, args...))
}

// Reader reads a file.
type Reader struct {
	r     *bufio.Reader
	state *gridv1.ExecutorState
	buf   []byte

	section, page int // of the page before; -1: none
}

// NewReader reads how a file begins, and returns its state.
func NewReader(r io.Reader) (*Reader, *gridv1.ExecutorState, error) {
	d := &Reader{r: bufio.NewReaderSize(r, 2*Page), buf: make([]byte, Page), page: -1}
	head := make([]byte, len(magic)+wordSize)
	if err := d.full(head); err != nil {
		return nil, nil, err
	}
	if string(head[:len(magic)]) != magic {
		return nil, nil, broken("it starts with %q, expected %q", head[:len(magic)], magic)
	}
	n := binary.LittleEndian.Uint32(head[len(magic):])
	if n > MaxState {
		return nil, nil, broken("state of %d bytes, the limit is %d", n, MaxState)
	}
	// Read before it is taken for granted: the length may be a lie.
	state, err := io.ReadAll(io.LimitReader(d.r, int64(n)))
	if err != nil {
		return nil, nil, err
	}
	if len(state) < int(n) {
		return nil, nil, broken("it is cut short")
	}
	d.state = new(gridv1.ExecutorState)
	if err := proto.Unmarshal(state, d.state); err != nil {
		return nil, nil, broken("%v", err)
	}
	if err := check(d.state); err != nil {
		return nil, nil, err
	}
	return d, d.state, nil
}

// full fills b.
func (d *Reader) full(b []byte) error {
	_, err := io.ReadFull(d.r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return broken("it is cut short")
	}
	return err
}

func (d *Reader) word() (uint32, error) {
	var b [wordSize]byte
	err := d.full(b[:])
	return binary.LittleEndian.Uint32(b[:]), err
}

// Next returns the next page; nil data is zeros. The bytes are good until the next call. At the end of the file
// it returns io.EOF.
func (d *Reader) Next() (section, page int, data []byte, err error) {
	index, err := d.word()
	if err != nil {
		return 0, 0, nil, err
	}
	if index == endMark {
		if _, err := d.r.ReadByte(); !errors.Is(err, io.EOF) {
			return 0, 0, nil, errors.Join(broken("it goes on after its end"), err)
		}
		return 0, 0, nil, io.EOF
	}
	number, err := d.word()
	if err != nil {
		return 0, 0, nil, err
	}
	zero := number&zeroBit != 0
	number &^= zeroBit
	if int64(index) >= int64(len(d.state.GetSections())) {
		return 0, 0, nil, broken("page of section %d of %d", index, len(d.state.GetSections()))
	}
	size := d.state.GetSections()[index].GetSize()
	section, page = int(index), int(number)
	if section < d.section || section == d.section && page <= d.page || page >= Pages(size) {
		return 0, 0, nil, broken("page %d of section %d after page %d of section %d", page, section, d.page, d.section)
	}
	d.section, d.page = section, page
	if zero {
		return section, page, nil, nil
	}
	data = d.buf[:Length(size, page)]
	return section, page, data, d.full(data)
}

// check returns an error unless a state makes sense by itself.
func check(s *gridv1.ExecutorState) error {
	switch {
	case len(s.ProtoReflect().GetUnknown()) > 0:
		return broken("state with unknown fields")
	case len(s.GetUnit()) != digestSize || len(s.GetBase()) != baseSize:
		return broken("names of %d and %d bytes, expected %d and %d", len(s.GetUnit()), len(s.GetBase()), digestSize, baseSize)
	case s.GetClockNs() < 0 || s.GetStdinOffset() < 0:
		return broken("clock at %d, standard input at %d", s.GetClockNs(), s.GetStdinOffset())
	}
	last := uint64(0)
	for _, section := range s.GetSections() {
		if section.GetKey() <= last {
			return broken("section %d after section %d", section.GetKey(), last)
		}
		last = section.GetKey()
		if err := checkSection(section); err != nil {
			return err
		}
	}
	return nil
}

func checkSection(s *gridv1.ExecutorSection) error {
	const maxSize = Page * zeroBit // what page numbers reach
	key, size := s.GetKey(), s.GetSize()
	switch {
	case len(s.ProtoReflect().GetUnknown()) > 0:
		return broken("section %d with unknown fields", key)
	case size < 0 || size > maxSize || s.GetDirectory() && size > 0:
		return broken("section %d of %d bytes", key, size)
	case key == KeyMemory && size%Page != 0:
		return broken("memory of %d bytes", size)
	case key < KeyInode && (key > KeyStderr || s.GetPath() != "" || s.GetDirectory()):
		return broken("section %d is none that there is", key)
	case key >= KeyInode && record.CheckPath(s.GetPath()) != nil:
		return broken("section %d of path %.80q", key, s.GetPath())
	}
	return nil
}
