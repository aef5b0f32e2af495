package executor_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"idlegrid/agent/executor"
)

// opcodes of the guests of the figures.
const (
	opGlobalGet = 0x23
	opGlobalSet = 0x24
	opI32LtU    = 0x49
	opI32Add    = 0x6a
	opI32Shl    = 0x74
)

// dirtying is a program that fills its memory, and then changes a hundredth of its pages with each step, always the
// same ones. It never ends.
func dirtying(t testing.TB, pages uint32) *executor.Program {
	i, address := []byte{opGlobalGet, 0}, []byte{opGlobalGet, 0, opI32Const, 16, opI32Shl}
	next := func(by uint32) []byte {
		b := append(append(append([]byte{}, i...), constant(by)...), opI32Add, opGlobalSet, 0)
		return append(append(append(b, i...), constant(pages)...), opI32LtU, opBrIf, 0, opEnd)
	}
	fill := append([]byte{opLoop, blockVoid}, address...)
	fill = append(append(fill, opI32Const, 1, opI32Store, 2, 0), next(1)...)
	step := append([]byte{opI32Const, 0, opGlobalSet, 0, opLoop, blockVoid}, address...)
	step = append(append(step, address...), opI32Load, 2, 0, opI32Const, 1, opI32Add, opI32Store, 2, 0)
	step = append(append(step, next(100)...), opI32Const, 0)
	m := module{
		pages: uint64(pages), export: "grid_step", kind: typeGiveI32, body: step,
		more: []function{{"_initialize", typeNothing, fill}}, globals: [][]byte{{typeI32, 1, opI32Const, 0, opEnd}},
	}
	prog := program(t, m.bytes())
	prog.Memory = uint64(pages) << 16
	return prog
}

// BenchmarkFiguresCheckpoint tells how long it takes from asking for a checkpoint until it lies on the disk, and its
// bytes: of the whole state, and of what changed since where that is a hundredth of the pages.
//
// On 2 shared cores of an AMD Turin server, with 15 other processes computing (so these are high), 2026-11-26:
//
//	memory    whole state            a hundredth changed
//	1 MiB     70 ms,  1,048,850 B    3.9 ms,    65,692 B
//	64 MiB    1.9 s,  67,117,203 B   25 ms,    721,133 B
//	256 MiB   6.8 s,  268,468,372 B  121 ms, 2,687,454 B
func BenchmarkFiguresCheckpoint(b *testing.B) {
	for _, mib := range []uint32{1, 64, 256} {
		b.Run(fmt.Sprintf("%dMiB", mib), func(b *testing.B) {
			p, prog := newPool(b, 1), dirtying(b, mib<<4)
			ctx, cancel := context.WithCancelCause(b.Context())
			defer cancel(nil)
			now, made := make(chan struct{}), make(chan executor.Checkpoint)
			u := &executor.Unit{Now: now, Folder: b.TempDir(), Save: func(c executor.Checkpoint) { made <- c }}
			ended := make(chan error, 1)
			go func() {
				_, err := p.Run(ctx, prog, u)
				ended <- err
			}()
			checkpoint := func() (executor.Checkpoint, time.Duration) {
				now <- struct{}{}
				start := time.Now()
				return <-made, time.Since(start)
			}
			whole, first := checkpoint()
			var total time.Duration
			var last executor.Checkpoint
			for b.Loop() {
				c, took := checkpoint()
				total += took
				last = c
			}
			if len(last.Files) != 2 {
				b.Fatalf("a checkpoint of %d files", len(last.Files))
			}
			b.ReportMetric(float64(first.Microseconds())/1000, "whole-ms")
			b.ReportMetric(float64(whole.Files[0].Blob.Size), "whole-bytes")
			b.ReportMetric(float64(total.Microseconds())/1000/float64(b.N), "changes-ms")
			b.ReportMetric(float64(last.Files[1].Blob.Size), "changes-bytes")
			cancel(errEvicted)
			if err := <-ended; !errors.Is(err, errEvicted) {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkFiguresWays tells the CPU seconds of one computation in C as a plain program, in steps, with calls of
// grid.checkpoint around its hot function, and with one in it.
//
// On the same machine on the same day: 1.93 s plain, 1.89 s in steps, 1.95 s with calls around (1 %), 2.38 s with one
// inside (23 %): what wasm-opt makes of the loop itself.
func BenchmarkFiguresWays(b *testing.B) {
	for _, tool := range []string{"clang", "wasm-opt"} {
		if _, err := exec.LookPath(tool); err != nil {
			b.Skipf("SKIPPED: %s is not installed", tool)
		}
	}
	for _, way := range []struct {
		name     string
		flags    []string
		asyncify bool
	}{
		{name: "plain"},
		{name: "step", flags: []string{"-DSTEP", "-mexec-model=reactor"}},
		{name: "call", flags: []string{"-DCALL"}, asyncify: true},
		{name: "callInside", flags: []string{"-DINSIDE"}, asyncify: true},
	} {
		b.Run(way.name, func(b *testing.B) {
			prog := compiled(b, "testdata/ways/ways.c", way.flags, way.asyncify)
			p := newPool(b, 1)
			var cpu time.Duration
			for b.Loop() {
				u := unit()
				u.Folder, u.Interval, u.Save = b.TempDir(), 2*time.Minute, func(executor.Checkpoint) {}
				r := mustRun(b, p, prog, u)
				if r.Failure.Failed() {
					b.Fatal(r.Failure)
				}
				cpu += r.Times.CPU
			}
			b.ReportMetric(cpu.Seconds()/float64(b.N), "cpu-s")
		})
	}
}

// compiled compiles a program in C.
func compiled(t testing.TB, source string, flags []string, asyncify bool) *executor.Program {
	t.Helper()
	sysroot := os.Getenv("WASI_SYSROOT")
	if sysroot == "" {
		sysroot = "/usr"
	}
	path := filepath.Join(t.TempDir(), "program.wasm")
	commands := [][]string{append([]string{"clang", "--target=wasm32-wasi", "--sysroot=" + sysroot, "-O2", "-Wl,--strip-all", "-o", path, source}, flags...)}
	if asyncify {
		commands = append(commands, []string{"wasm-opt", "--asyncify", "--pass-arg=asyncify-imports@grid.checkpoint", path, "-o", path})
	}
	for _, args := range commands {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	return &executor.Program{Path: path, Digest: digestOf(t, path), Memory: 64 << 20}
}
