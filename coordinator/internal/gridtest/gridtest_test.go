package gridtest_test

import (
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"idlegrid/coordinator/internal/gridtest"
)

// TestSmallest is how a simulation is written.
func TestSmallest(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(60)
		time.Sleep(5 * time.Second)
		if done := j.Accepted(); done == 0 || done == 60 {
			t.Fatalf("%d of 60 units were accepted when the power went", done)
		}
		g.Agents[1].Cut()
		j.Await(5 * time.Minute)
		j.Each(1, 2)
		j.Complete()
	})
}

// TestNoProcesses holds that nothing here starts a process: it would not live in virtual time.
func TestNoProcesses(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if path, err := strconv.Unquote(i.Path.Value); err != nil || path == "os/exec" || path == "syscall" {
				t.Errorf("%s imports %s: %v", name, path, err)
			}
		}
	}
}
