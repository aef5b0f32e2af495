package executor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// TestUnits runs the Go guest and hand-made guests in all their ways to end.
func TestUnits(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	hand := func(m module) *executor.Program { return program(t, m.bytes()) }
	tests := []struct {
		name    string
		program *executor.Program
		args    []string
		kind    jobs.FailureKind
		text    string // in the failure's text
		stdout  string // prefix
		stderr  string // part
	}{
		{name: "arguments", program: guest, args: []string{"echo", "a", "b c"}, stdout: "program [a b c] []\n"},
		{name: "exit code", program: guest, args: []string{"exit", "3"}, kind: jobs.FailureExit, text: "exit code 3"},
		{name: "panic", program: guest, args: []string{"panic"}, kind: jobs.FailureExit, text: "exit code 2", stderr: "a panic of the guest"},
		{name: "memory", program: guest, args: []string{"alloc", "200"}, kind: jobs.FailureMemory, text: "the limit is 64 MiB", stderr: "out of memory"},
		{name: "little memory", program: guest, args: []string{"alloc", "5"}, stdout: "5242880\n"},
		{name: "recursion", program: guest, args: []string{"recurse"}, kind: jobs.FailureMemory},
		{name: "no UTF-8", program: guest, args: []string{"bytes"}, stdout: "\xff\xfe\x00a", stderr: "\xc0\x80"},
		{name: "long sleep", program: guest, args: []string{"sleep"}, stdout: "true\n"},
		{name: "files", program: guest, args: []string{"outfs"}},
		{name: "many files open", program: guest, args: []string{"open", "/out"}, kind: jobs.FailureExit, text: "1,000 files are open"},
		{name: "much garbage", program: guest, args: []string{"garbage"}},
		{name: "full disk", program: guest, args: []string{"fill", "1025"}, kind: jobs.FailureExit, text: "/out is full"},
		{name: "trap", program: hand(module{body: bodyTrap, pages: 1}), kind: jobs.FailureTrap, text: "unreachable"},
		{name: "endless recursion", program: hand(module{body: []byte{opCall, 0}, pages: 1}), kind: jobs.FailureTrap, text: "stack overflow"},
		{name: "exit by import", program: hand(module{body: bodyExit5, pages: 1, imports: [][2]string{procExit}}), kind: jobs.FailureExit, text: "exit code 5"},
		{name: "refused memory and fine", program: hand(module{body: bodyGrow, pages: 1})},
		{name: "refused memory and trapped", program: hand(module{body: slices.Concat(bodyGrow, bodyTrap), pages: 1}), kind: jobs.FailureMemory, text: "the limit is 16 MiB"},
		{name: "refused memory and exit code", program: hand(module{body: slices.Concat(bodyGrow, bodyExit5), pages: 1, imports: [][2]string{procExit}}), kind: jobs.FailureMemory, text: "exit code 5"},
		{name: "more memory than allowed to start", program: hand(module{pages: 257}), kind: jobs.FailureMemory, text: "asked for 17 MiB of memory, the limit is 16 MiB"},
		{name: "exactly the memory allowed", program: hand(module{pages: 256})},
		{name: "endless tables", program: hand(module{body: bodyTables, pages: 1}), kind: jobs.FailureCrash, text: "beside the guest's memory"},
		{name: "no memory", program: hand(module{pages: 0})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := mustRun(t, p, tt.program, unit(tt.args...))
			if r.Failure.Kind != tt.kind || !strings.Contains(r.Failure.Text, tt.text) {
				t.Errorf("failure %q, expected kind %v with %q", r.Failure, tt.kind, tt.text)
			}
			if !strings.HasPrefix(string(r.Outcome.Stdout), tt.stdout) || !strings.Contains(string(r.Outcome.Stderr), tt.stderr) {
				t.Errorf("wrote %.200q and %.200q, expected %q and %q", r.Outcome.Stdout, r.Outcome.Stderr, tt.stdout, tt.stderr)
			}
			if err := r.Outcome.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestMemoryOfAUnit: what a unit came to have is its own, not that of the one before on the same child, and is known of
// one that was refused more as well.
func TestMemoryOfAUnit(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	for _, tt := range []struct {
		args        []string
		least, most uint64
	}{
		{[]string{"echo"}, 1 << 20, 5 << 20},
		{[]string{"alloc", "20"}, 20 << 20, 60 << 20},
		{[]string{"echo"}, 1 << 20, 5 << 20},
		{[]string{"alloc", "200"}, 1 << 20, 64 << 20}, // all at once, which it was refused
	} {
		if r := mustRun(t, p, guest, unit(tt.args...)); r.Memory < tt.least || r.Memory > tt.most {
			t.Errorf("%v had %d bytes, expected %d to %d", tt.args, r.Memory, tt.least, tt.most)
		}
	}
	if r := mustRun(t, p, program(t, module{pages: 3}.bytes()), unit()); r.Memory != 3*64<<10 {
		t.Errorf("three pages are %d bytes", r.Memory)
	}
	if r := mustRun(t, p, program(t, module{body: bodySpin, pages: 3}.bytes()), &executor.Unit{Timeout: 100 * time.Millisecond}); r.Memory != 0 {
		t.Errorf("of one that was killed %d bytes are known", r.Memory)
	}
}

func TestSuccessCodes(t *testing.T) {
	p := newPool(t, 1)
	u := unit("exit", "3")
	u.Succeeded = func(code uint32) bool { return code == 3 }
	succeed(t, p, goGuest(t), u)
	u = unit("exit", "0")
	u.Succeeded = func(code uint32) bool { return code == 3 }
	if r := mustRun(t, p, goGuest(t), u); r.Failure.Kind != jobs.FailureExit {
		t.Errorf("failure %v, expected exit", r.Failure)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("EXECUTOR_TEST_SECRET", "x")
	u := unit("echo")
	u.Env = []manifest.EnvVar{{Name: "B", Value: "2=2"}, {Name: "A", Value: ""}}
	if got := succeed(t, newPool(t, 1), goGuest(t), u); got != "program [] [B=2=2 A=]\n" {
		t.Errorf("the guest saw %q", got)
	}
}

// TestDeterministic compares what a guest can learn of its surroundings in two children.
func TestDeterministic(t *testing.T) {
	seeded := func(verb string, seed byte) string {
		u := unit(verb)
		u.Seed[0] = seed
		return succeed(t, newPool(t, 1), goGuest(t), u)
	}
	if a, b := seeded("random", 1), seeded("random", 1); a != b {
		t.Errorf("one seed gave %q and %q", a, b)
	}
	if a, b := seeded("random", 1), seeded("random", 2); a == b {
		t.Errorf("two seeds gave %q", a)
	}
	a, b := seeded("clock", 1), seeded("clock", 2)
	if a != b || !strings.HasPrefix(a, "2022-01-01 00:00:00.0") {
		t.Errorf("the clock showed %q and %q", a, b)
	}
}

func TestTimeout(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	succeed(t, p, guest, unit("echo")) // the child is there
	u := unit("spin")
	u.Timeout = 300 * time.Millisecond
	start := time.Now()
	r := mustRun(t, p, guest, u)
	if r.Failure.Kind != jobs.FailureTimeout || r.Failure.Text != "ran longer than 300ms" {
		t.Errorf("failure %v", r.Failure)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the unit ended after %v", took)
	}
	if string(r.Outcome.Stdout) != "before\n" || string(r.Outcome.Stderr) != "to stderr\n" {
		t.Errorf("kept %q and %q", r.Outcome.Stdout, r.Outcome.Stderr)
	}
	if r.Times.Wall < u.Timeout {
		t.Errorf("times %v", r.Times)
	}
	succeed(t, p, guest, unit("echo"))
}

func TestCancel(t *testing.T) {
	p, spin := newPool(t, 1), program(t, module{body: bodySpin, pages: 1}.bytes())
	if err := p.Prepare(t.Context(), spin); err != nil {
		t.Fatal(err)
	}
	back := errors.New("the owner is back")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, back)
	defer cancel()
	start := time.Now()
	if _, err := p.Run(ctx, spin, unit()); !errors.Is(err, back) {
		t.Errorf("run returned %v, expected the cause", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("the unit ended after %v", took)
	}
	succeed(t, p, goGuest(t), unit("echo"))
}

// TestClean checks that a guest sees nothing of the one before: not in its memory, and not in /out.
func TestClean(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	for range 2 {
		r := mustRun(t, p, guest, unit("write", "/out/b/c", "/out/a"))
		want := []record.File{{Path: "a", Data: []byte("content of /out/a")}, {Path: "b/c", Data: []byte("content of /out/b/c")}}
		if r.Failure.Failed() || fmt.Sprint(r.Outcome.Files) != fmt.Sprint(want) {
			t.Fatalf("%v: files %q, stderr %s", r.Failure, r.Outcome.Files, r.Outcome.Stderr)
		}
		if r := mustRun(t, p, guest, unit("echo")); len(r.Outcome.Files) > 0 {
			t.Fatalf("files %q of the unit before", r.Outcome.Files)
		}
	}
	for _, pages := range []byte{1, 100} {
		prog := program(t, module{body: bodyUsed(pages), pages: uint64(pages)}.bytes())
		for range 3 {
			succeed(t, p, prog, unit())
		}
	}
}

func TestOutputLimits(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	guest.Limits = executor.Limits{Stdout: 1 << 20}
	r := mustRun(t, p, guest, unit("flood", "1024"))
	if r.Failure.Failed() || len(r.Outcome.Stdout) != 1<<20 {
		t.Errorf("exactly the limit: %v, %d bytes", r.Failure, len(r.Outcome.Stdout))
	}
	r = mustRun(t, p, guest, unit("flood", "1025"))
	if r.Failure.Kind != jobs.FailureExit || !strings.Contains(r.Failure.Text, "1048576 bytes to standard output") || len(r.Outcome.Stdout) != 1<<20 {
		t.Errorf("over the limit: %v, %d bytes", r.Failure, len(r.Outcome.Stdout))
	}
	r = mustRun(t, p, guest, unit("floodstderr"))
	const mark = "\n[cut here: over 1048576 bytes]\n"
	if r.Failure.Failed() || !strings.HasSuffix(string(r.Outcome.Stderr), "e"+mark) || len(r.Outcome.Stderr) != 1<<20+len(mark) {
		t.Errorf("standard error: %v, %d bytes", r.Failure, len(r.Outcome.Stderr))
	}
}

// inputs writes files and returns them as inputs of the given paths.
func inputs(t *testing.T, content map[string]string) []executor.File {
	t.Helper()
	var files []executor.File
	dir := t.TempDir()
	for path, data := range content {
		source := filepath.Join(dir, fmt.Sprint(len(files)))
		if err := os.WriteFile(source, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, executor.File{Path: path, Source: source, Size: int64(len(data))})
	}
	return files
}

func TestInputs(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	guest.Inputs = inputs(t, map[string]string{"b/c/d.txt": "deep", "a.txt": "0123456789", "b/empty": ""})
	big := filepath.Join(t.TempDir(), "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	const huge = 8 << 30 // of holes: whoever reads it as a whole is noticed
	if err := os.Truncate(big, huge); err != nil {
		t.Fatal(err)
	}
	guest.Inputs = append(guest.Inputs, executor.File{Path: "huge", Source: big, Size: huge})
	const at = " 2022-01-01 00:00:00 +0000 UTC\n"
	want := "/in\n/in/a.txt 10 56789" + at + "/in/b\n/in/b/c\n/in/b/c/d.txt 4 deep" + at + "/in/b/empty 0 " + at +
		"/in/huge 8589934592 \x00\x00\x00\x00\x00" + at
	if got := succeed(t, p, guest, unit("read")); got != want {
		t.Errorf("the guest read\n%q\nexpected\n%q", got, want)
	}
	succeed(t, p, guest, unit("escape"))
	r := mustRun(t, p, guest, unit("open", "/in/a.txt"))
	if r.Failure.Kind != jobs.FailureExit || !strings.Contains(r.Failure.Text, "1,000 files are open") {
		t.Errorf("opening a file 10,000 times: %v", r.Failure)
	}
	succeed(t, p, guest, unit("read"))
}

func TestStdin(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	if got := succeed(t, p, guest, unit("stdin")); got != "bytes 0\n" {
		t.Errorf("no standard input: %q", got)
	}
	guest = goGuest(t)
	guest.Stdin = inputs(t, map[string]string{"x": "some text"})[0].Source
	for range 2 {
		if got := succeed(t, p, guest, unit("stdin")); got != "some textbytes 9\n" {
			t.Errorf("standard input: %q", got)
		}
	}
}

// expectNoPath fails the test if a failure, which others read, says where something lies on this machine.
func expectNoPath(t *testing.T, f jobs.Failure) {
	t.Helper()
	if strings.Contains(f.Text, os.TempDir()) {
		t.Errorf("a failure tells a path: %s", f.Text)
	}
}

// TestBadInputs checks what does not lie in the unit, as far as one can tell, but in what it is made of.
func TestBadInputs(t *testing.T) {
	p := newPool(t, 1)
	tests := map[string]struct {
		spoil func(*executor.Program)
		text  string
	}{
		"no program":      {func(g *executor.Program) { g.Path += ".gone" }, "program"},
		"other program":   {func(g *executor.Program) { g.Digest[0]++ }, "are not those of digest"},
		"no input":        {func(g *executor.Program) { g.Inputs[0].Source += ".gone" }, "input a/b"},
		"short input":     {func(g *executor.Program) { g.Inputs[0].Size++ }, "input a/b: 3 bytes, expected 4"},
		"input twice":     {func(g *executor.Program) { g.Inputs = append(g.Inputs, g.Inputs[0]) }, "input a/b: the path is there twice"},
		"file and folder": {func(g *executor.Program) { g.Inputs = append(g.Inputs, g.Inputs[0]); g.Inputs[1].Path = "a/b/c" }, "input a/b/c"},
		"bad path":        {func(g *executor.Program) { g.Inputs[0].Path = "../b" }, `input "../b"`},
		"no stdin":        {func(g *executor.Program) { g.Stdin = g.Path + ".gone" }, "standard input"},
		"no WebAssembly":  {func(g *executor.Program) { *g = *program(t, []byte("hello")) }, "program"},
		"unknown import":  {func(g *executor.Program) { *g = *program(t, module{imports: [][2]string{{"env", "f"}}}.bytes()) }, "imports env.f"},
		"no start":        {func(g *executor.Program) { *g = *program(t, module{export: "main"}.bytes()) }, "exports no function _start"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			guest := goGuest(t)
			guest.Inputs = inputs(t, map[string]string{"a/b": "abc"})
			tt.spoil(guest)
			r := mustRun(t, p, guest, unit("echo"))
			if r.Failure.Kind != jobs.FailureInput || !strings.Contains(r.Failure.Text, tt.text) {
				t.Errorf("failure %v, expected kind input with %q", r.Failure, tt.text)
			}
			expectNoPath(t, r.Failure)
		})
	}
}

// TestInputVanishes checks that a guest cannot make a success of what it could not read.
func TestInputVanishes(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	guest.Inputs = inputs(t, map[string]string{"a": "abc"})
	succeed(t, p, guest, unit("read"))
	if err := os.WriteFile(guest.Inputs[0].Source, []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := mustRun(t, p, guest, unit("read")); r.Failure.Kind != jobs.FailureInput {
		t.Errorf("of another size: %v", r.Failure)
	}
	if err := os.Remove(guest.Inputs[0].Source); err != nil {
		t.Fatal(err)
	}
	r := mustRun(t, p, guest, unit("read"))
	if r.Failure.Kind != jobs.FailureInput {
		t.Errorf("deleted: %v", r.Failure)
	}
	expectNoPath(t, r.Failure)
	succeed(t, p, guest, unit("echo"))
}
