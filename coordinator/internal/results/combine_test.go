package results

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// pool is a Pool whose programs do what a function does.
type pool struct {
	prepare error
	run     func(p *executor.Program) (executor.Result, error)
}

func (p pool) Prepare(context.Context, *executor.Program) error { return p.prepare }

func (p pool) Run(_ context.Context, prog *executor.Program, _ *executor.Unit) (executor.Result, error) {
	return p.run(prog)
}

func TestCombineSeesTheResultsAndNothingElse(t *testing.T) {
	f := open(t, t.TempDir(), squares)
	put(t, f, 1, success())
	if err := f.Save(); err != nil {
		t.Fatal(err)
	}
	var paths []string
	p := pool{run: func(prog *executor.Program) (executor.Result, error) {
		for _, in := range prog.Inputs {
			paths = append(paths, in.Path)
			info, err := os.Stat(in.Source)
			if err != nil || info.Size() != in.Size {
				t.Errorf("%s is not at %s with %d bytes", in.Path, in.Source, in.Size)
			}
		}
		return executor.Result{Outcome: record.Outcome{Stdout: []byte("best"), Files: []record.File{{Path: "map.png"}}}}, nil
	}}
	for range 2 { // What is combined is no input of the next time.
		paths = nil
		r, err := f.Combine(t.Context(), p, Combine{})
		if err != nil || string(r.Outcome.Stdout) != "best" {
			t.Fatalf("%+v, %v", r, err)
		}
		slices.Sort(paths)
		want := []string{
			"units.json", "units/000001/meta.json", "units/000001/out/a/b/c.bin", "units/000001/out/empty",
			"units/000001/out/z.txt", "units/000001/stderr", "units/000001/stdout",
		}
		if !slices.Equal(paths, want) {
			t.Errorf("sees %q, expected %q", paths, want)
		}
	}
	files := tree(t, f.Combined())
	if _, ok := files["out/map.png"]; !ok || files["stdout"] != "best" {
		t.Errorf("combined/ has %q", files)
	}
	put(t, f, 2, success())
	if _, err := os.Stat(f.Combined()); err == nil {
		t.Error("combined/ stands beside a unit that it was not made of")
	}
}

func TestCombineThatFails(t *testing.T) {
	f := open(t, t.TempDir(), squares)
	failure := jobs.Failure{Kind: jobs.FailureExit, Text: "exit code 1"}
	r, err := f.Combine(t.Context(), pool{run: func(*executor.Program) (executor.Result, error) {
		return executor.Result{Outcome: record.Outcome{ExitCode: 1, Stderr: []byte("why")}, Failure: failure}, nil
	}}, Combine{})
	if err != nil || r.Failure != failure {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := tree(t, f.Combined())["stderr"]; got != "why" {
		t.Errorf("stderr %q", got)
	}
	broken := errors.New("no such machine")
	for name, p := range map[string]pool{
		"prepare": {prepare: broken},
		"run":     {run: func(*executor.Program) (executor.Result, error) { return executor.Result{}, broken }},
	} {
		if _, err := f.Combine(t.Context(), p, Combine{}); !errors.Is(err, broken) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(f.Combined(), "stderr")); err != nil {
		t.Error("a fault of the machine removed what was combined before")
	}
}
