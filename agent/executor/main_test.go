package executor_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

// parentMark makes the test binary a process that starts a pool with a spinning unit: see TestParentDies.
const parentMark = "EXECUTOR_TEST_PARENT"

// TestMain makes the test binary its own child, and builds the Go guests once.
func TestMain(m *testing.M) {
	executor.Main()
	if dir := os.Getenv(parentMark); dir != "" {
		runParent(dir)
	}
	os.Exit(run(m))
}

func run(m *testing.M) (code int) {
	dir, err := os.MkdirTemp("", "executor-test-")
	if err == nil {
		err = os.Setenv(scratchVariable, dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := os.RemoveAll(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	for _, name := range []string{"guest", "reactor"} {
		mode := map[string]string{"guest": "exe", "reactor": "c-shared"}[name]
		build := exec.Command("go", "build", "-buildmode="+mode, "-o", filepath.Join(dir, name+".wasm"), "./testdata/"+name)
		build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
		if out, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build the %s: %v\n%s", name, err, out)
			return 1
		}
	}
	return m.Run()
}

// scratchVariable names the folder that all tests of a run share: the Go guest is compiled once.
const scratchVariable = "EXECUTOR_TEST_SCRATCH"

func cacheDir() string { return filepath.Join(os.Getenv(scratchVariable), "cache") }

// newPool returns a pool that is closed with the test.
func newPool(t testing.TB, slots int) *executor.Pool {
	t.Helper()
	p := executor.NewPool(executor.Options{Slots: slots, Cache: cacheDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	t.Cleanup(p.Close)
	return p
}

// goGuest returns the Go guest as a program.
func goGuest(t testing.TB) *executor.Program {
	t.Helper()
	return builtGuest(t, "guest")
}

// builtGuest returns a Go program of testdata.
func builtGuest(t testing.TB, name string) *executor.Program {
	t.Helper()
	path := filepath.Join(os.Getenv(scratchVariable), name+".wasm")
	return &executor.Program{Path: path, Digest: digestOf(t, path), Memory: 64 << 20}
}

// program returns hand-made code as a program.
func program(t testing.TB, wasm []byte) *executor.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program.wasm")
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		t.Fatal(err)
	}
	return &executor.Program{Path: path, Digest: jobs.DigestOf(wasm), Memory: 16 << 20}
}

func digestOf(t testing.TB, path string) jobs.Digest {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return jobs.DigestOf(b)
}

// unit returns a unit with a timeout that only a test of timeouts changes.
func unit(args ...string) *executor.Unit { return &executor.Unit{Args: args, Timeout: time.Minute} }

// mustRun runs a unit that no fault of the machine ends.
func mustRun(t testing.TB, p *executor.Pool, prog *executor.Program, u *executor.Unit) executor.Result {
	t.Helper()
	r, err := p.Run(t.Context(), prog, u)
	if err != nil {
		t.Fatalf("run %v: %v", u.Args, err)
	}
	return r
}

// succeed runs a unit that must succeed, and returns what it wrote to standard output.
func succeed(t testing.TB, p *executor.Pool, prog *executor.Program, u *executor.Unit) string {
	t.Helper()
	r := mustRun(t, p, prog, u)
	if r.Failure.Failed() {
		t.Fatalf("run %v: %v\nstderr: %s", u.Args, r.Failure, r.Outcome.Stderr)
	}
	return string(r.Outcome.Stdout)
}

// runParent is the process of TestParentDies. It never returns.
func runParent(dir string) {
	path := filepath.Join(os.Getenv(scratchVariable), "guest.wasm")
	wasm, err := os.ReadFile(path)
	if err == nil {
		p := executor.NewPool(executor.Options{Slots: 1, Cache: dir})
		prog := &executor.Program{Path: path, Digest: jobs.DigestOf(wasm), Memory: 64 << 20}
		err = p.Prepare(context.Background(), prog)
		if err == nil {
			_, err = p.Run(context.Background(), prog, &executor.Unit{Args: []string{"spin"}})
		}
	}
	fmt.Fprintln(os.Stderr, errors.Join(errors.New("the parent's unit ended"), err))
	os.Exit(1)
}
