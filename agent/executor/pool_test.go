package executor_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

func TestPoolReusesChildren(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	succeed(t, p, guest, unit("echo"))
	first := p.Pids()
	if r := mustRun(t, p, guest, unit("panic")); !r.Failure.Failed() {
		t.Error("the panic succeeded")
	}
	succeed(t, p, goGuest(t), unit("echo")) // another Program with the same content
	if again := p.Pids(); len(first) != 1 || len(again) != 1 || again[0] != first[0] {
		t.Errorf("the children %v became %v", first, again)
	}
	succeed(t, p, program(t, module{}.bytes()), unit())
	if other := p.Pids(); len(other) != 1 || other[0] == first[0] {
		t.Errorf("after another program the child is %v, before it was %v", other, first)
	}
}

// TestPoolPrefersLoaded checks that two programs keep a child each where there are two slots.
func TestPoolPrefersLoaded(t *testing.T) {
	p, a, b := newPool(t, 2), program(t, module{}.bytes()), program(t, module{pages: 1}.bytes())
	succeed(t, p, a, unit())
	succeed(t, p, b, unit())
	before := p.Pids()
	for range 3 {
		succeed(t, p, a, unit())
		succeed(t, p, b, unit())
	}
	if after := p.Pids(); len(before) != 2 || len(after) != 2 || after[0] != before[0] || after[1] != before[1] {
		t.Errorf("the children %v became %v", before, after)
	}
}

func TestPoolSlots(t *testing.T) {
	p, noop := newPool(t, 2), program(t, module{pages: 1}.bytes())
	var running sync.WaitGroup
	for range 20 {
		running.Go(func() { succeed(t, p, noop, unit()) })
	}
	running.Wait()
	if n := len(p.Pids()); n < 1 || n > 2 {
		t.Errorf("%d children for two slots", n)
	}
}

// TestPoolWaits checks that a unit waits for a slot, and no longer than its context.
func TestPoolWaits(t *testing.T) {
	p, spin := newPool(t, 1), program(t, module{body: bodySpin, pages: 1}.bytes())
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		u := unit()
		u.Timeout = 0
		if _, err := p.Run(ctx, spin, u); !errors.Is(err, context.Canceled) {
			t.Errorf("the running unit: %v", err)
		}
	})
	occupied(t, p)
	why := errors.New("no slot in time")
	short, cancelShort := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, why)
	defer cancelShort()
	if _, err := p.Run(short, spin, unit()); !errors.Is(err, why) {
		t.Errorf("the waiting unit: %v", err)
	}
	cancel()
	running.Wait()
}

// occupied returns when all slots of the pool are in use.
func occupied(t *testing.T, p *executor.Pool) {
	t.Helper()
	eventually(t, "all slots are in use", func() bool { return p.Free() == 0 })
}

// eventually waits for something that another process or goroutine does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func TestPoolClose(t *testing.T) {
	p, spin := newPool(t, 2), program(t, module{body: bodySpin, pages: 1}.bytes())
	succeed(t, p, program(t, module{}.bytes()), unit())
	var running sync.WaitGroup
	running.Go(func() {
		if _, err := p.Run(t.Context(), spin, &executor.Unit{}); jobs.KindOf(err) != jobs.Unavailable {
			t.Errorf("the running unit: %v", err)
		}
	})
	eventually(t, "a slot is in use", func() bool { return p.Free() == 1 })
	running.Go(p.Close)
	p.Close()
	running.Wait()
	if _, err := p.Run(t.Context(), spin, unit()); jobs.KindOf(err) != jobs.Unavailable {
		t.Errorf("run after close: %v", err)
	}
	if err := p.Prepare(t.Context(), spin); jobs.KindOf(err) != jobs.Unavailable {
		t.Errorf("prepare after close: %v", err)
	}
	if pids := p.Pids(); len(pids) > 0 {
		t.Errorf("children %v are left", pids)
	}
	p.Close()
}

func TestPrepare(t *testing.T) {
	cache := filepath.Join(t.TempDir(), "cache")
	prog := program(t, module{pages: 1}.bytes())
	// Several agents may use one folder, and race.
	var running sync.WaitGroup
	for range 3 {
		running.Go(func() {
			p := executor.NewPool(executor.Options{Slots: 1, Cache: cache})
			defer p.Close()
			if err := p.Prepare(t.Context(), prog); err != nil {
				t.Error(err)
			}
			succeed(t, p, prog, unit())
		})
	}
	running.Wait()
	entries := list(t, cache)
	if len(entries) != 1 || !strings.HasPrefix(entries[0], prog.Digest.String()) {
		t.Errorf("the cache holds %q, expected one program", entries)
	}
}

func TestPrepareUnusable(t *testing.T) {
	p := newPool(t, 1)
	err := p.Prepare(t.Context(), program(t, []byte("hello")))
	unusable := (*executor.UnusableError)(nil)
	if !errors.As(err, &unusable) || unusable.Failure.Kind != jobs.FailureInput {
		t.Errorf("prepare returned %v, expected an UnusableError of kind input", err)
	}
	if entries := list(t, cacheDir()); strings.Contains(strings.Join(entries, "\n"), "compiling-") {
		t.Errorf("the cache holds %q", entries)
	}
}

// TestHostileProgram compiles a program that claims four thousand million parameters.
func TestHostileProgram(t *testing.T) {
	p := newPool(t, 1)
	hostile := "\x00asm\x01\x00\x00\x00\x01\x07\x01\x60\xff\xff\xff\xff\x0f"
	err := p.Prepare(t.Context(), program(t, []byte(hostile)))
	if unusable := (*executor.UnusableError)(nil); !errors.As(err, &unusable) {
		t.Errorf("prepare returned %v, expected an UnusableError", err)
	}
	succeed(t, p, goGuest(t), unit("echo"))
}

// TestDamagedCache checks that damaged compiled code is neither run nor taken for a fault of the program.
func TestDamagedCache(t *testing.T) {
	cache := t.TempDir()
	prog := program(t, module{pages: 1}.bytes())
	use := func() {
		p := executor.NewPool(executor.Options{Slots: 1, Cache: cache})
		defer p.Close()
		succeed(t, p, prog, unit())
	}
	use()
	damaged := 0
	err := filepath.WalkDir(cache, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			damaged++
			err = os.WriteFile(path, []byte("WAZEVO and no more"), 0o600)
		}
		return err
	})
	if err != nil || damaged == 0 {
		t.Fatalf("damaged %d files: %v", damaged, err)
	}
	use()
	use()
}

func TestCacheIsBounded(t *testing.T) {
	cache := t.TempDir()
	long := time.Now().Add(-48 * time.Hour)
	for i := range 40 {
		dir := filepath.Join(cache, strings.Repeat("0", i)+"1")
		if i == 0 {
			dir = filepath.Join(cache, "compiling-123")
		}
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, long, long.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	p := executor.NewPool(executor.Options{Slots: 1, Cache: cache})
	defer p.Close()
	prog := program(t, module{pages: 1}.bytes())
	if err := p.Prepare(t.Context(), prog); err != nil {
		t.Fatal(err)
	}
	entries := strings.Join(list(t, cache), "\n")
	if n := len(list(t, cache)); n != 32 || strings.Contains(entries, "compiling") || !strings.Contains(entries, prog.Digest.String()) {
		t.Errorf("the cache holds %d folders:\n%s", n, entries)
	}
}

func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func BenchmarkNoop(b *testing.B) {
	for _, slots := range []int{1, 2} {
		b.Run(map[int]string{1: "one slot", 2: "two slots"}[slots], func(b *testing.B) {
			p, prog := newPool(b, slots), program(b, module{pages: 1}.bytes())
			succeed(b, p, prog, unit())
			b.ResetTimer()
			b.SetParallelism(1)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if r, err := p.Run(context.Background(), prog, unit()); err != nil || r.Failure.Failed() {
						b.Error(r.Failure, err)
					}
				}
			})
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "units/s")
		})
	}
}

// BenchmarkGoGuest is a unit of a Go program that only says hello.
func BenchmarkGoGuest(b *testing.B) {
	p, prog := newPool(b, 1), goGuest(b)
	succeed(b, p, prog, unit("echo"))
	for b.Loop() {
		succeed(b, p, prog, unit("echo"))
	}
}
