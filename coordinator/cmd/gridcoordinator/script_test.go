package main

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gridcoordinator": main, "exits": exits})
}

// exits is gridcoordinator that must end with an exit code: exits 2 token --role king.
func exits() {
	want := os.Args[1]
	os.Args = append([]string{"gridcoordinator"}, os.Args[2:]...)
	if code := run(); strconv.Itoa(code) != want {
		fmt.Fprintf(os.Stderr, "exit code %d, expected %s\n", code, want)
		os.Exit(1)
	}
}

// TestScripts runs the program where no coordinator runs.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}
