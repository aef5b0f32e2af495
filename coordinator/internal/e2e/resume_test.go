package e2e_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

// TestP3ExamplesGoOn interrupts a unit of an example again and again, each time after a few checkpoints, and goes on in
// another process. In the end it has given what it gives undisturbed.
func TestP3ExamplesGoOn(t *testing.T) {
	t.Run("tour, between steps", func(t *testing.T) {
		tour := exampleProgram(t, filepath.Join(os.Getenv(binVariable), "tour.wasm"), "tour/airports.csv")
		goOn(t, tour, "solve", "--seed", "3", "--kicks", "6000")
	})
	t.Run("queens, at calls", func(t *testing.T) {
		queens := exampleProgram(t, builtInC(t, "queens", "clang", "wasm-opt"))
		goOn(t, queens, "count", "16", "3")
	})
}

// exampleProgram is a program with inputs from the folder of the examples.
func exampleProgram(t *testing.T, path string, inputs ...string) *executor.Program {
	t.Helper()
	wasm, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &executor.Program{Path: path, Digest: jobs.DigestOf(wasm), Memory: 64 << 20}
	for _, name := range inputs {
		source := filepath.Join(examples, name)
		info, err := os.Stat(source)
		if err != nil {
			t.Fatal(err)
		}
		p.Inputs = append(p.Inputs, executor.File{Path: filepath.Base(name), Source: source, Size: info.Size()})
	}
	return p
}

var errEvicted = errors.New("evicted")

// goOn runs a unit undisturbed, and once more with interruptions.
func goOn(t *testing.T, program *executor.Program, args ...string) {
	t.Helper()
	options := executor.Options{Slots: 1, Cache: t.TempDir(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	want, _, err := runPart(t, options, program, &executor.Unit{Args: args}, 0)
	if err != nil || want.Failure.Failed() {
		t.Fatalf("undisturbed: %v, %v", want.Failure, err)
	}
	const evictions = 3
	unit := &executor.Unit{Args: args, Interval: time.Millisecond}
	began := -1.0 // what the unit first said of its progress when it last began
	for range evictions {
		r, first, err := runPart(t, options, program, unit, 2)
		if !errors.Is(err, errEvicted) {
			t.Fatalf("it was not interrupted: %v, %v", r.Failure, err)
		}
		if first <= began {
			t.Errorf("it went on at %v, and before at %v", first, began)
		}
		began = first
	}
	got, first, err := runPart(t, options, program, unit, 0)
	switch {
	case err != nil || got.Failure.Failed():
		t.Fatalf("the last part: %v, %v", got.Failure, err)
	case first <= began:
		t.Errorf("it went on at %v, and before at %v", first, began)
	case got.Outcome.Digest() != want.Outcome.Digest():
		t.Errorf("it printed %q, undisturbed %q, or its files differ", got.Outcome.Stdout, want.Outcome.Stdout)
	}
}

// runPart runs a unit in a process of its own, from its last checkpoint until it has made so many, or to its end (0).
// It returns the first thing that the unit said of its progress.
func runPart(t *testing.T, o executor.Options, program *executor.Program, u *executor.Unit, checkpoints int) (executor.Result, float64, error) {
	t.Helper()
	pool := executor.NewPool(o)
	defer pool.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	first, resume := -1.0, u.Resume
	part := *u
	part.Folder, part.Timeout = t.TempDir(), time.Minute
	part.Progress = func(fraction float64) {
		if first < 0 {
			first = fraction
		}
	}
	part.Save = func(c executor.Checkpoint) {
		resume = &c
		if checkpoints--; checkpoints == 0 {
			cancel(errEvicted)
		}
	}
	r, err := pool.Run(ctx, program, &part)
	u.Resume = resume
	return r, first, err
}
