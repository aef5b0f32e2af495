package executor_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/executor/internal/snapshot"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"

	"google.golang.org/protobuf/proto"
)

// changedCheckpoint writes a whole state anew with other values, and its pages with it where they still fit.
func changedCheckpoint(t *testing.T, from executor.CheckpointFile, change func(*gridv1.ExecutorState)) executor.CheckpointFile {
	t.Helper()
	b, err := os.ReadFile(from.Path)
	if err != nil {
		t.Fatal(err)
	}
	r, read, err := snapshot.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	s := proto.CloneOf(read) // the reader goes by its own
	change(s)
	var file bytes.Buffer
	w, err := snapshot.NewWriter(&file, s)
	if err != nil {
		t.Fatal(err)
	}
	for len(s.GetSections()) == len(read.GetSections()) {
		section, page, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		size := s.GetSections()[section].GetSize()
		if page < snapshot.Pages(size) && len(data) == snapshot.Length(size, page) {
			err = errors.Join(err, w.Page(section, page, data))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.End(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "changed")
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return executor.CheckpointFile{Path: path, Blob: jobs.Blob{Digest: jobs.DigestOf(file.Bytes()), Size: int64(file.Len())}}
}

// TestHostileCheckpoint goes on from checkpoints that have the right digest, and that no executor made. Each is
// refused as a checkpoint, and none takes the child down.
func TestHostileCheckpoint(t *testing.T) {
	prog, p := worker(t), newPool(t, 1)
	u := executor.Unit{Args: []string{"800", "1", "work"}, Timeout: time.Minute}
	good := evicted(t, prog, u, 1).Files[0]
	file := func(key uint64, size int64, path string) func(*gridv1.ExecutorState) {
		return func(s *gridv1.ExecutorState) {
			s.LastInode = 1 << 60
			s.Sections = append(s.Sections, &gridv1.ExecutorSection{Key: key, Size: size, Path: path})
		}
	}
	tests := map[string]func(*gridv1.ExecutorState){
		"less memory":        func(s *gridv1.ExecutorState) { s.Sections[0].Size = snapshot.Page },
		"too much memory":    func(s *gridv1.ExecutorState) { s.Sections[0].Size = 1 << 40 },
		"too much stdout":    func(s *gridv1.ExecutorState) { s.Sections[1].Size = 1 << 40 },
		"too much stderr":    func(s *gridv1.ExecutorState) { s.Sections[2].Size = 2 << 20 },
		"too large a file":   file(1<<50, 1<<46, "x"),
		"no folder":          file(1<<50, 1, "no/x"),
		"beyond the inodes":  file(1<<61, 1, "x"),
		"one global more":    func(s *gridv1.ExecutorState) { s.Globals = append(s.Globals, 1) },
		"no globals":         func(s *gridv1.ExecutorState) { s.Globals = nil },
		"no random source":   func(s *gridv1.ExecutorState) { s.Random = nil },
		"other random state": func(s *gridv1.ExecutorState) { s.Random = bytes.Repeat([]byte{0xff}, len(s.GetRandom())) },
		"frames":             func(s *gridv1.ExecutorState) { s.Stack = []byte{1} },
		"no inodes":          func(s *gridv1.ExecutorState) { s.LastInode = 0 },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			u.Resume = &executor.Checkpoint{Files: []executor.CheckpointFile{changedCheckpoint(t, good, change)}}
			r, err := p.Run(t.Context(), prog, &u)
			if unfit := (*executor.ResumeError)(nil); !errors.As(err, &unfit) {
				t.Errorf("%v, error %v, expected a ResumeError", r.Failure, err)
			}
		})
	}
	// A program without memory is given some.
	u.Resume, u.Args = nil, nil
	count := [][]byte{{typeI32, 1, opI32Const, 0, opEnd}}
	body := []byte{opGlobalGet, 0, opI32Const, 1, opI32Add, opGlobalSet, 0, opGlobalGet, 0, opI32Const, 0x80, 0x80, 0x80, 0x0a, 0x46}
	small := program(t, module{export: "grid_step", kind: typeGiveI32, body: body, globals: count}.bytes())
	u.Resume = &executor.Checkpoint{Files: []executor.CheckpointFile{changedCheckpoint(t, evicted(t, small, u, 1).Files[0], func(s *gridv1.ExecutorState) {
		s.Sections[0].Size = 1 << 30
	})}}
	if _, err := p.Run(t.Context(), small, &u); !errors.As(err, new(*executor.ResumeError)) {
		t.Errorf("memory for who has none: %v", err)
	}
}
