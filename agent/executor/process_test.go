package executor

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/executor/internal/child"
	"idlegrid/agent/executor/internal/host"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// spinning is a module whose _start never ends.
const spinning = "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00\x0a\x09\x01\x07\x00\x03\x40\x0c\x00\x0b\x0b"

// loadedProcess returns a child that is loaded with a spinning program.
func loadedProcess(t *testing.T) *process {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "spin.wasm")
	if err := os.WriteFile(path, []byte(spinning), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := startProcess(host.OpenGroup("", host.Low), host.Low)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.end)
	prog := &Program{Path: path, Digest: jobs.DigestOf([]byte(spinning)), Memory: 1 << 20}
	if err := p.load(t.Context(), prog, loadOptions{cache: filepath.Join(dir, "cache")}); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestHangUp closes the standard input of a child whose guest computes. It is how a child learns of its
// parent's death where the operating system does not tell.
func TestHangUp(t *testing.T) {
	p := loadedProcess(t)
	run := &gridv1.ExecutorRun{Seed: make([]byte, 32)}
	if err := p.out.Send(&gridv1.ExecutorRequest{Request: &gridv1.ExecutorRequest_Run{Run: run}}); err != nil {
		t.Fatal(err)
	}
	if err := p.pipes[0].Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the child lives on")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the child ended with %v and said %s", p.cmd.ProcessState, p.said)
	}
	if err := p.in.Receive(new(gridv1.ExecutorReply)); !errors.Is(err, io.EOF) {
		t.Errorf("the child said something at its end: %v", err)
	}
}

// TestNonsense sends a child what no parent sends. What it says of it is in its obituary.
func TestNonsense(t *testing.T) {
	p := loadedProcess(t)
	if _, err := p.pipes[0].WriteString("\xff\xff\xff\xff"); err != nil {
		t.Fatal(err)
	}
	<-p.ended
	if got := p.obituary(); !strings.Contains(got, "exit status 70") || !strings.Contains(got, "frame of 4294967295 bytes") {
		t.Errorf("the obituary is %q", got)
	}
}

func TestMainNotCalled(t *testing.T) {
	t.Setenv(marker, markerLow)
	if p, err := startProcess(host.OpenGroup("", host.Low), host.Low); err == nil {
		p.end()
		t.Error("a process that is a child started a child")
	}
}

// TestReceiver checks the bounds that the parent keeps by itself.
func TestReceiver(t *testing.T) {
	limits := Limits{Stdout: 10, Stderr: 10, OutBytes: 10, OutFiles: 2}
	text := func(n int) []byte { return []byte(strings.Repeat("x", n)) }
	stdout := func(n int) *gridv1.ExecutorReply {
		return &gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Stdout{Stdout: text(n)}}
	}
	stderr := func(n int) *gridv1.ExecutorReply {
		return &gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Stderr{Stderr: text(n)}}
	}
	file := func(path string, n int) *gridv1.ExecutorReply {
		f := &gridv1.OutFile{Path: path, Data: text(n)}
		return &gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_File{File: f}}
	}
	tests := map[string]struct {
		good []*gridv1.ExecutorReply
		bad  *gridv1.ExecutorReply
	}{
		"stdout":      {[]*gridv1.ExecutorReply{stdout(5), stdout(5)}, stdout(1)},
		"stderr":      {[]*gridv1.ExecutorReply{stderr(10), stderr(len(child.CutMark(10)))}, stderr(1)},
		"bytes":       {[]*gridv1.ExecutorReply{file("a", 5), file("a", 1), file("b", 4)}, file("b", 1)},
		"files":       {[]*gridv1.ExecutorReply{file("a", 0), file("b", 0)}, file("c", 0)},
		"no reply":    {nil, &gridv1.ExecutorReply{}},
		"second load": {nil, &gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Loaded{}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := receiver{limits: limits}
			for i, reply := range tt.good {
				if err := r.take(reply); err != nil {
					t.Fatalf("reply %d: %v", i, err)
				}
			}
			if err := r.take(tt.bad); !errors.Is(err, errProtocol) {
				t.Errorf("took too much: %v", err)
			}
		})
	}
}

func TestReceiverChecks(t *testing.T) {
	for _, paths := range [][]string{{"../a"}, {"a", "b", "a"}, {""}, {"a/"}} {
		r := receiver{limits: Limits{}.withDefaults()}
		for _, path := range paths {
			if err := r.file(&gridv1.OutFile{Path: path}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.check(); !errors.Is(err, errProtocol) {
			t.Errorf("files %q: %v", paths, err)
		}
	}
}

func TestVerdict(t *testing.T) {
	zero := func(code uint32) bool { return code == 0 }
	trap := &gridv1.Failure{Kind: gridv1.FailureKind_FAILURE_KIND_TRAP, Text: "t\xff"}
	memory := &gridv1.Failure{Kind: gridv1.FailureKind_FAILURE_KIND_MEMORY, Text: "m"}
	tests := map[string]struct {
		done *gridv1.ExecutorDone
		want jobs.Failure
	}{
		"success":           {&gridv1.ExecutorDone{Otherwise: memory}, jobs.Failure{}},
		"failure":           {&gridv1.ExecutorDone{Failure: trap}, jobs.Failure{Kind: jobs.FailureTrap, Text: "t\uFFFD"}},
		"otherwise":         {&gridv1.ExecutorDone{ExitCode: 1, Otherwise: memory}, jobs.Failure{Kind: jobs.FailureMemory, Text: "m"}},
		"a code alone":      {&gridv1.ExecutorDone{ExitCode: 1}, jobs.Failure{Kind: jobs.FailureExit, Text: "exit code 1"}},
		"a kind of its own": {&gridv1.ExecutorDone{Failure: &gridv1.Failure{Kind: 1000}}, jobs.Failure{Kind: jobs.FailureInput}},
		"a negative kind":   {&gridv1.ExecutorDone{Failure: &gridv1.Failure{Kind: -1}}, jobs.Failure{Kind: jobs.FailureExit}},
	}
	for name, tt := range tests {
		if got := verdict(tt.done, zero); got != tt.want {
			t.Errorf("%s: %v, expected %v", name, got, tt.want)
		}
	}
}

// FuzzSections checks that whatever bytes end in an answer.
func FuzzSections(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte(spinning)[len(wasmMagic)+len(wasmModule):])
	f.Add([]byte("\x02n\xff\xff\xff\x7fot_previewp"))
	f.Add([]byte("\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := inspectSections(b); err != nil && jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("an error of kind %v: %v", jobs.KindOf(err), err)
		}
	})
}
