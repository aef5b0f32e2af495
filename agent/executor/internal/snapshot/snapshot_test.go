package snapshot

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	gridv1 "idlegrid/proto/grid/v1"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

func state(sections ...*gridv1.ExecutorSection) *gridv1.ExecutorState {
	return &gridv1.ExecutorState{Unit: make([]byte, digestSize), Base: make([]byte, baseSize), Sections: sections}
}

func memory(pages int64) *gridv1.ExecutorSection {
	return &gridv1.ExecutorSection{Key: KeyMemory, Size: pages * Page}
}

// page is what a file holds of a page.
type page struct {
	section, number int
	data            string // empty: zeros
}

func write(t interface{ Fatal(...any) }, s *gridv1.ExecutorState, pages []page) []byte {
	var file bytes.Buffer
	w, err := NewWriter(&file, s)
	for _, p := range pages {
		data := []byte(p.data)
		if p.data == "" {
			data = nil
		}
		err = errors.Join(err, w.Page(p.section, p.number, data))
	}
	if err := errors.Join(err, w.End()); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func read(b []byte) (s *gridv1.ExecutorState, pages []page, err error) {
	r, s, err := NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, nil, err
	}
	for {
		section, number, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			return s, pages, nil
		}
		if err != nil {
			return nil, nil, err
		}
		pages = append(pages, page{section, number, string(data)})
	}
}

func equal(a, b []page) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := state(memory(rapid.Int64Range(0, 3).Draw(t, "memory")))
		for i := range rapid.IntRange(0, 4).Draw(t, "files") {
			size := rapid.SampledFrom([]int64{0, 1, Page - 1, Page, Page + 1, 2*Page + 7}).Draw(t, "size")
			s.Sections = append(s.Sections, &gridv1.ExecutorSection{Key: uint64(KeyInode + 2 + i), Size: size, Path: strings.Repeat("x", i+1)})
		}
		var pages []page
		for i, section := range s.GetSections() {
			for n := range Pages(section.GetSize()) {
				switch rapid.IntRange(0, 2).Draw(t, "page") {
				case 0:
					pages = append(pages, page{section: i, number: n})
				case 1:
					pages = append(pages, page{i, n, strings.Repeat("p", Length(section.GetSize(), n))})
				}
			}
		}
		got, back, err := read(write(t, s, pages))
		if err != nil || !proto.Equal(got, s) || !equal(back, pages) {
			t.Fatalf("wrote %v, read %v, %v", s, got, err)
		}
	})
}

// TestCut cuts a file at every byte, and adds one.
func TestCut(t *testing.T) {
	file := write(t, state(memory(1), &gridv1.ExecutorSection{Key: 17, Size: 3, Path: "a"}), []page{{section: 0}, {1, 0, "abc"}})
	for n := range file {
		if _, _, err := read(file[:n]); !errors.Is(err, errBroken) {
			t.Errorf("%d of %d bytes: %v", n, len(file), err)
		}
	}
	if _, _, err := read(append(file, 0)); !errors.Is(err, errBroken) {
		t.Errorf("a byte more: %v", err)
	}
}

// TestBadStates checks what no state may be.
func TestBadStates(t *testing.T) {
	section := func(change func(*gridv1.ExecutorSection)) func(*gridv1.ExecutorState) {
		return func(s *gridv1.ExecutorState) {
			f := &gridv1.ExecutorSection{Key: 18, Size: 5, Path: "a/b"}
			change(f)
			s.Sections = append(s.Sections, f)
		}
	}
	tests := map[string]func(*gridv1.ExecutorState){
		"no unit":           func(s *gridv1.ExecutorState) { s.Unit = nil },
		"short base":        func(s *gridv1.ExecutorState) { s.Base = s.Base[1:] },
		"negative clock":    func(s *gridv1.ExecutorState) { s.ClockNs = -1 },
		"negative offset":   func(s *gridv1.ExecutorState) { s.StdinOffset = -1 },
		"twice":             func(s *gridv1.ExecutorState) { s.Sections = append(s.Sections, s.Sections...) },
		"half a page":       func(s *gridv1.ExecutorState) { s.Sections[0].Size = Page + 1 },
		"key 0":             func(s *gridv1.ExecutorState) { s.Sections[0].Key = 0 },
		"unknown key":       func(s *gridv1.ExecutorState) { s.Sections[0].Key = KeyStderr + 1 },
		"memory with path":  func(s *gridv1.ExecutorState) { s.Sections[0].Path = "a" },
		"negative size":     section(func(f *gridv1.ExecutorSection) { f.Size = -1 }),
		"endless":           section(func(f *gridv1.ExecutorSection) { f.Size = 1 << 60 }),
		"folder with bytes": section(func(f *gridv1.ExecutorSection) { f.Directory = true }),
		"bad path":          section(func(f *gridv1.ExecutorSection) { f.Path = "../b" }),
		"no path":           section(func(f *gridv1.ExecutorSection) { f.Path = "" }),
		"unknown field":     func(s *gridv1.ExecutorState) { s.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 1}) },
		"unknown in section": section(func(f *gridv1.ExecutorSection) {
			f.ProtoReflect().SetUnknown([]byte{0xf8, 0x07, 1})
		}),
	}
	if _, err := NewWriter(io.Discard, state(memory(1))); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range tests {
		s := state(memory(1))
		spoil(s)
		if _, err := NewWriter(io.Discard, s); !errors.Is(err, errBroken) {
			t.Errorf("%s: written, %v", name, err)
		}
		body, err := proto.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		file := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(body)))
		file = binary.LittleEndian.AppendUint32(append(file, body...), endMark)
		if _, _, err := read(file); !errors.Is(err, errBroken) {
			t.Errorf("%s: read, %v", name, err)
		}
	}
}

// TestStateBound checks both sides of MaxState.
func TestStateBound(t *testing.T) {
	s := state()
	s.Stack = make([]byte, MaxState-proto.Size(s)-5)
	for ; proto.Size(s) < MaxState; s.Stack = append(s.Stack, 0) {
	}
	if _, _, err := read(write(t, s, nil)); err != nil {
		t.Errorf("%d bytes: %v", proto.Size(s), err)
	}
	s.Stack = append(s.Stack, 0)
	if _, err := NewWriter(io.Discard, s); err == nil {
		t.Errorf("a state of %d bytes was written", proto.Size(s))
	}
	lie := binary.LittleEndian.AppendUint32([]byte(magic), MaxState+1)
	if _, _, err := read(append(lie, make([]byte, 100)...)); !errors.Is(err, errBroken) {
		t.Errorf("a state said to be too long: %v", err)
	}
}

// FuzzReader checks that whatever bytes give an error, or what a Writer would write in the same way.
func FuzzReader(f *testing.F) {
	f.Add(write(f, state(memory(2), &gridv1.ExecutorSection{Key: 17, Size: 3, Path: "a"}), []page{{section: 0, number: 1}, {1, 0, "abc"}}))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, pages, err := read(b)
		if err != nil {
			if s != nil || pages != nil {
				t.Error("a value came with an error")
			}
			return
		}
		again, back, err := read(write(t, s, pages))
		if err != nil || !proto.Equal(again, s) || !equal(back, pages) {
			t.Errorf("written again it is another: %v", err)
		}
	})
}
