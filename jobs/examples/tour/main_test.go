package main

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"idlegrid/jobs/examples/tour/route"
)

// run does what the arguments ask for, to its end.
func run(args []string, stdout io.Writer) error {
	do, err := parse(args, stdout)
	for done := false; !done && err == nil; {
		done, err = do()
	}
	return err
}

// try runs a unit and returns what it printed and its tour.
func try(t *testing.T, seed, dir string) (stdout, tour string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := run([]string{"solve", "--seed", seed, "--kicks", "50", "--in", ".", "--out", dir}, &printed); err != nil {
		t.Fatal(err)
	}
	text, err := fs.ReadFile(os.DirFS(dir), "tour.csv")
	if err != nil {
		t.Fatal(err)
	}
	return printed.String(), string(text)
}

func TestSameSeedSameBytes(t *testing.T) {
	stdout, tour := try(t, "7", t.TempDir())
	again, tourAgain := try(t, "7", t.TempDir())
	other, tourOther := try(t, "8", t.TempDir())
	if stdout != again || tour != tourAgain {
		t.Errorf("seed 7 gave %q, then %q", stdout, again)
	}
	if stdout == other || tour == tourOther {
		t.Errorf("seeds 7 and 8 both gave %q", stdout)
	}
	if !strings.HasPrefix(stdout, `{"seed":7,"greedy_km":`) || strings.Count(stdout, "\n") != 1 {
		t.Errorf("%q is not one line of JSON about seed 7", stdout)
	}
}

// TestUnitsAndCombine does what a grid does with the job, with three units.
func TestUnitsAndCombine(t *testing.T) {
	dir, out := t.TempDir(), t.TempDir()
	var index []string
	for _, seed := range []string{"0", "1", "2"} {
		folder := filepath.Join(dir, "units", "00000"+seed)
		stdout, _ := try(t, seed, filepath.Join(folder, "out"))
		if err := os.WriteFile(filepath.Join(folder, "stdout"), []byte(stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		index = append(index, fmt.Sprintf(`{"unit":%s,"status":"accepted","reason":"","digest":""}`, seed))
	}
	if err := os.WriteFile(filepath.Join(dir, "units.json"), []byte("["+strings.Join(index, ",")+"]"), 0o600); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	if err := run([]string{"combine", "--in", dir, "--out", out}, &printed); err != nil {
		t.Fatal(err)
	}
	airports, err := os.ReadFile("airports.csv")
	if err != nil {
		t.Fatal(err)
	}
	best, err := fs.ReadFile(os.DirFS(out), "best.csv")
	if err != nil {
		t.Fatal(err)
	}
	if km, err := route.Check(bytes.NewReader(airports), bytes.NewReader(best)); err != nil || km < 160_000 || km > 190_000 {
		t.Errorf("best.csv: %g km, %v", km, err)
	}
	if text := printed.String(); !strings.Contains(text, "A tour of 3,376 airports: the shortest of 3 tours found by 3 units.") {
		t.Errorf("printed %q", text)
	}
}

func TestBadCommands(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "airports.csv"), []byte("iata,latitude,longitude\nAAA,1,2\nBBB,91,2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, fault string }{
		{"", "expected solve or combine"},
		{"fly", `"fly": expected solve or combine`},
		{"solve 7", `"7": expected flags only`},
		{"solve --seed x", "invalid value"},
		{"solve --kicks -1 --in .", "--kicks -1: expected 0 to 100000000"},
		{"solve --in nowhere", "nowhere/airports.csv"},
		{"solve --in . --out nowhere --kicks 0", "nowhere/tour.csv"},
		{"solve --in " + dir, `airports.csv:3: latitude "91": expected degrees from -90 to 90`},
		{"combine --in nowhere", "units.json"},
		{"combine --seed 1", "not defined: -seed"},
	} {
		var printed bytes.Buffer
		err := run(strings.Fields(c.args), &printed)
		if err == nil || !strings.Contains(filepath.ToSlash(err.Error()), c.fault) || printed.Len() > 0 {
			t.Errorf("%q: %v, expected an error with %q", c.args, err, c.fault)
		}
	}
}
