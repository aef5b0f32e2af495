package executor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// errEvicted is why the units of these tests end before their time.
var errEvicted = errors.New("evicted")

// runKept runs a unit and hands its checkpoints to save, which returns true to evict it. It returns the newest
// checkpoint.
func runKept(t testing.TB, p *executor.Pool, prog *executor.Program, u executor.Unit, save func(executor.Checkpoint) bool) (*executor.Checkpoint, executor.Result, error) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	newest := u.Resume
	u.Save = func(c executor.Checkpoint) {
		if newest != nil && (c.Sequence <= newest.Sequence || c.CPU < newest.CPU) {
			t.Errorf("checkpoint %d at %v after %d at %v", c.Sequence, c.CPU, newest.Sequence, newest.CPU)
		}
		newest = &c
		if save(c) {
			cancel(errEvicted)
		}
	}
	u.Folder = t.TempDir()
	r, err := p.Run(ctx, prog, &u)
	return newest, r, err
}

// keptProgram is a program with one of the ways of checkpoints.
type keptProgram struct {
	name    string
	program func(t testing.TB) *executor.Program
	args    []string
}

func keptPrograms() []keptProgram {
	return []keptProgram{
		{"step", worker, []string{"800", "1", "work"}},
		{"call", unwindable, nil},
		{"files", goGuest, []string{"keep", "2000"}},
	}
}

// worker is a program in Go whose steps depend on all that a checkpoint keeps.
func worker(t testing.TB) *executor.Program {
	t.Helper()
	prog := builtGuest(t, "reactor")
	prog.Stdin = filepath.Join(t.TempDir(), "stdin")
	if err := os.WriteFile(prog.Stdin, bytes.Repeat([]byte("piece by piece"), 50), 0o600); err != nil {
		t.Fatal(err)
	}
	return prog
}

// unwindable is a program that went through wasm-opt --asyncify.
func unwindable(t testing.TB) *executor.Program {
	t.Helper()
	const path = "testdata/asyncify/guest.wasm"
	return &executor.Program{Path: path, Digest: digestOf(t, path), Memory: 64 << 20}
}

// undisturbed runs a unit without checkpoints.
func undisturbed(t testing.TB, p *executor.Pool, prog *executor.Program, u executor.Unit) executor.Result {
	t.Helper()
	r := mustRun(t, p, prog, &u)
	if r.Failure.Failed() || len(r.Outcome.Stdout) == 0 {
		t.Fatalf("undisturbed: %v, stderr %.300s", r.Failure, r.Outcome.Stderr)
	}
	return r
}

// TestP3ResumedIsUndisturbed evicts units again and again at random moments, in other processes each time. What they
// give in the end is what they give undisturbed.
func TestP3ResumedIsUndisturbed(t *testing.T) {
	notShort(t)
	for _, k := range keptPrograms() {
		t.Run(k.name, func(t *testing.T) {
			prog := k.program(t)
			u := executor.Unit{Args: k.args, Timeout: unhurried}
			want := undisturbed(t, newPool(t, 1), prog, u)
			evictions := 0
			rapid.Check(t, func(rt *rapid.T) {
				if evictions < enough {
					evictions += evictAndResume(t, rt, prog, u, want)
				}
			})
			if evictions == 0 {
				t.Error("nothing was evicted")
			}
		})
	}
}

// notShort skips tests of children that make checkpoints without a pause: with the race detector they take minutes.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("checkpoints without a pause take too long for -short")
	}
}

// unhurried is how long a unit may run that makes checkpoints without a pause: the race detector and a busy machine
// make a second of that minutes.
const unhurried = 10 * time.Minute

// enough is how many evictions a test has at least: each is a process.
const enough = 12

// evictAndResume runs a unit to its end, and returns how often it was evicted until then.
func evictAndResume(t *testing.T, rt *rapid.T, prog *executor.Program, u executor.Unit, want executor.Result) int {
	evictions := 0
	for {
		p := newPool(t, 1)
		u.Interval = time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "interval")) * time.Microsecond
		after, seen := rapid.IntRange(1, 4).Draw(rt, "checkpoints"), 0
		stay := evictions >= 4
		c, r, err := runKept(t, p, prog, u, func(executor.Checkpoint) bool {
			seen++
			return !stay && seen == after
		})
		p.Close()
		switch {
		case errors.Is(err, errEvicted):
			evictions++
			u.Resume = c
			continue
		case err != nil:
			rt.Fatal(err)
		}
		if r.Failure.Failed() || !bytes.Equal(r.Outcome.Stdout, want.Outcome.Stdout) || fmt.Sprint(r.Outcome.Files) != fmt.Sprint(want.Outcome.Files) {
			rt.Fatalf("after %d evictions: %v, stdout ends %.100q, expected %.100q", evictions, r.Failure, tail(r.Outcome.Stdout), tail(want.Outcome.Stdout))
		}
		if prog.Path != goGuest(t).Path && !bytes.Equal(r.Outcome.Stderr, want.Outcome.Stderr) {
			rt.Fatalf("after %d evictions stderr ends %.100q, expected %.100q", evictions, tail(r.Outcome.Stderr), tail(want.Outcome.Stderr))
		}
		return evictions
	}
}

func tail(b []byte) []byte { return b[max(0, len(b)-100):] }

// evicted returns a checkpoint of a unit that was evicted after so many, in files of its own.
func evicted(t testing.TB, prog *executor.Program, u executor.Unit, after int) *executor.Checkpoint {
	t.Helper()
	u.Interval = time.Microsecond
	const tries = 20 // a short unit may end before the pool has asked for so many
	for range tries {
		seen := 0
		c, r, err := runKept(t, newPool(t, 1), prog, u, func(executor.Checkpoint) bool {
			seen++
			return seen >= after
		})
		switch {
		case errors.Is(err, errEvicted):
			return c
		case err != nil || r.Failure.Failed():
			t.Fatalf("not evicted after %d checkpoints: %v, %v", seen, r.Failure, err)
		}
	}
	t.Fatalf("in %d runs not evicted after %d checkpoints", tries, after)
	return nil
}

// TestP6BrokenCheckpoint flips bits of checkpoints, and spoils them otherwise. None is gone on from, and the error is
// not one of the unit.
func TestP6BrokenCheckpoint(t *testing.T) {
	notShort(t)
	for _, k := range keptPrograms() {
		t.Run(k.name, func(t *testing.T) {
			prog, p := k.program(t), newPool(t, 1)
			u := executor.Unit{Args: k.args, Timeout: unhurried}
			good := evicted(t, prog, u, 4)
			refused := func(name string, u executor.Unit, files ...executor.CheckpointFile) {
				t.Helper()
				u.Resume = &executor.Checkpoint{Sequence: 1, Files: files}
				r, err := p.Run(t.Context(), prog, &u)
				if unfit := (*executor.ResumeError)(nil); !errors.As(err, &unfit) || unfit.Why == "" {
					t.Errorf("%s: %v, error %v, expected a ResumeError", name, r.Failure, err)
				}
			}
			for i, f := range good.Files {
				b, err := os.ReadFile(f.Path)
				if err != nil || jobs.DigestOf(b) != f.Blob.Digest || int64(len(b)) != f.Blob.Size {
					t.Fatalf("file %d has %d bytes, %v", i, len(b), err)
				}
				spoiled := f
				spoiled.Path = filepath.Join(t.TempDir(), "spoiled")
				files := append([]executor.CheckpointFile(nil), good.Files...)
				files[i] = spoiled
				write := func(b []byte) {
					if err := os.WriteFile(spoiled.Path, b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				for range 15 {
					bit := rand.IntN(8 * len(b))
					b[bit/8] ^= 1 << (bit % 8)
					write(b)
					refused(fmt.Sprintf("bit %d of file %d", bit, i), u, files...)
					b[bit/8] ^= 1 << (bit % 8)
				}
				write(b[:len(b)-1])
				refused("cut", u, files...)
				write(append(b, 0))
				refused("longer", u, files...)
			}
			other := u
			other.Args = append([]string{}, u.Args...)
			other.Args = append(other.Args, "other")
			refused("other arguments", other, good.Files...)
			other = u
			other.Seed[0]++
			refused("other seed", other, good.Files...)
			refused("too many files", u, append(good.Files, good.Files...)...)
			refused("no file", u, executor.CheckpointFile{Path: filepath.Join(t.TempDir(), "gone")})
			if last := good.Files[len(good.Files)-1:]; len(good.Files) > 1 {
				refused("changes alone", u, last...)
				refused("in each other's place", u, last[0], good.Files[0])
			}
			u.Resume = good
			if r := mustRun(t, p, prog, &u); r.Failure.Failed() {
				t.Errorf("the good one: %v", r.Failure)
			}
		})
	}
}

// loggedPool returns a pool with a log that can be read when it runs nothing.
func loggedPool(t *testing.T, slots int) (*executor.Pool, *bytes.Buffer) {
	t.Helper()
	log := new(bytes.Buffer)
	p := executor.NewPool(executor.Options{Slots: slots, Cache: cacheDir(), Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(p.Close)
	return p, log
}

// TestOpenFile checks that there is no checkpoint while a file is open, that the log says so, and that there is one
// afterwards.
func TestOpenFile(t *testing.T) {
	notShort(t)
	p, log := loggedPool(t, 1)
	// The file is open for thousands of steps.
	u := executor.Unit{Args: []string{"20000", "1", "open"}, Interval: 2 * time.Millisecond, Timeout: unhurried}
	c, r, err := runKept(t, p, builtGuest(t, "reactor"), u, func(executor.Checkpoint) bool { return false })
	if err != nil || r.Failure.Failed() || c == nil {
		t.Errorf("checkpoint %v, %v, %v", c, r.Failure, err)
	}
	if n := strings.Count(log.String(), "1 files or folders are open"); n != 1 {
		t.Errorf("it was said %d times, the log is %q", n, log)
	}
}

// TestNow checks that a checkpoint is made when it is asked for, and else none without an interval.
func TestNow(t *testing.T) {
	notShort(t)
	for _, k := range keptPrograms() {
		t.Run(k.name, func(t *testing.T) {
			p, prog := newPool(t, 1), k.program(t)
			u := executor.Unit{Args: k.args, Timeout: unhurried}
			count := 0
			_, r, err := runKept(t, p, prog, u, func(executor.Checkpoint) bool { count++; return false })
			if err != nil || r.Failure.Failed() || count > 0 {
				t.Fatalf("%d checkpoints that nobody asked for, %v, %v", count, r.Failure, err)
			}
			now := make(chan struct{}, 1)
			now <- struct{}{}
			u.Now = now
			_, r, err = runKept(t, p, prog, u, func(executor.Checkpoint) bool {
				switch count++; count {
				case 1:
					now <- struct{}{}
				case 2:
					close(now)
				}
				return false
			})
			if err != nil || r.Failure.Failed() || count != 3 {
				t.Errorf("%d checkpoints where three were asked for, %v, %v", count, r.Failure, err)
			}
		})
	}
}

// TestGrowingState checks that a new whole state is made when the changes have outgrown half of it, and not before.
func TestGrowingState(t *testing.T) {
	notShort(t)
	u := executor.Unit{Args: []string{"800", "1", "work"}, Timeout: unhurried, Interval: time.Millisecond}
	whole, changes := 0, 0
	_, r, err := runKept(t, newPool(t, 1), worker(t), u, func(c executor.Checkpoint) bool {
		if len(c.Files) == 1 {
			whole++
			return false
		}
		changes++
		// Beside the changed pages a file has the state, which is small here.
		if base, now := c.Files[0].Blob.Size, c.Files[1].Blob.Size; now > base/2+base/8 {
			t.Errorf("changes of %d bytes since a state of %d", now, base)
		}
		return false
	})
	if err != nil || r.Failure.Failed() || whole == 0 || changes == 0 {
		t.Errorf("%d whole states and %d of changes, %v, %v", whole, changes, r.Failure, err)
	}
}

// TestNoFolder checks that a unit does not suffer where its checkpoints cannot be written.
func TestNoFolder(t *testing.T) {
	notShort(t)
	p, log := loggedPool(t, 1)
	u := executor.Unit{Args: []string{"800", "1", "work"}, Timeout: unhurried, Interval: time.Millisecond}
	u.Folder = filepath.Join(t.TempDir(), "gone")
	u.Save = func(c executor.Checkpoint) { t.Errorf("saved %v", c) }
	if r := mustRun(t, p, worker(t), &u); r.Failure.Failed() {
		t.Error(r.Failure)
	}
	if !strings.Contains(log.String(), "write a checkpoint") {
		t.Errorf("the log is %q", log)
	}
}

// TestUnkept checks that a program whose state cannot be kept runs all the same, and the log says why.
func TestUnkept(t *testing.T) {
	notShort(t)
	p, log := loggedPool(t, 1)
	vector := append([]byte{0x7b, 1, 0xfd, 0x0c}, append(make([]byte, 16), opEnd)...)
	count := []byte{0x7f, 1, opI32Const, 0, opEnd}
	// It counts to a million.
	body := []byte{0x23, 0, opI32Const, 1, 0x6a, 0x24, 0, 0x23, 0, opI32Const, 0xc0, 0x84, 0x3d, 0x46}
	prog := program(t, module{pages: 1, export: "grid_step", kind: typeGiveI32, body: body, globals: [][]byte{count, vector}}.bytes())
	u := executor.Unit{Timeout: unhurried, Interval: time.Millisecond}
	c, r, err := runKept(t, p, prog, u, func(executor.Checkpoint) bool { return false })
	if c != nil || err != nil || r.Failure.Failed() || !strings.Contains(log.String(), "mutable global of type 0x7b") {
		t.Errorf("checkpoint %v, %v, %v, log %q", c, r.Failure, err, log)
	}
}

// TestCallInC runs a program in C, with wasi-libc's allocator and output, through wasm-opt.
func TestCallInC(t *testing.T) {
	notShort(t)
	for _, tool := range []string{"clang", "wasm-opt"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed", tool)
			}
			t.Skipf("SKIPPED: %s is not installed; checkpoints at calls of C programs are not tested", tool)
		}
	}
	prog := compiled(t, "testdata/call/call.c", nil, true)
	u := executor.Unit{Args: []string{"2000", "9"}, Env: []manifest.EnvVar{{Name: "A", Value: "b"}}, Timeout: unhurried}
	want := undisturbed(t, newPool(t, 1), prog, u)
	evictions := 0
	rapid.Check(t, func(rt *rapid.T) {
		if evictions < enough {
			evictions += evictAndResume(t, rt, prog, u, want)
		}
	})
	if evictions == 0 {
		t.Error("nothing was evicted")
	}
}
