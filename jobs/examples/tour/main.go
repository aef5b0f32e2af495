// Command tour looks for a short flight to every airport of the United States and home again. It is two programs
// in one file, because a job's units and its combine program may well share one:
//
//	tour solve --seed N     one unit: one try, told from the others by its seed
//	tour combine            afterwards, once: the best of all tries, and a map of it
//
// It reads /in, writes /out and prints. On a grid it is run step by step, so that another machine can go on between
// two steps; elsewhere main makes the same steps.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"idlegrid/jobs/examples/tour/combine"
	"idlegrid/jobs/examples/tour/route"
	"idlegrid/jobs/examples/tour/solve"
	"idlegrid/jobs/guest"
)

const (
	maxKicks  = 100_000_000
	stepKicks = 100 // of a step, which takes some milliseconds
)

// What step returns.
const (
	more int32 = 0
	done int32 = 1
)

// A task is what the arguments ask for. It is called until it reports that it is done. Between two calls all that it
// has found is in memory, and no file is open.
type task func() (done bool, err error)

// current is the task of this process, once there was a step. An exported function has no other place for it.
var current task

//go:wasmexport grid_step
func step() int32 {
	err := error(nil)
	if current == nil {
		current, err = parse(os.Args[1:], os.Stdout)
	}
	if errors.Is(err, flag.ErrHelp) {
		return done
	}
	finished := false
	if err == nil {
		finished, err = current()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
	if finished {
		return done
	}
	return more
}

// main is for machines without a grid, which does not call it.
func main() {
	for step() == more {
	}
}

func parse(args []string, stdout io.Writer) (task, error) {
	if len(args) == 0 {
		return nil, errors.New("expected solve or combine")
	}
	flags := flag.NewFlagSet("tour "+args[0], flag.ContinueOnError)
	in := flags.String("in", "/in", "`folder` with the input files")
	out := flags.String("out", "/out", "`folder` for what is found")
	var do func() (task, error)
	switch args[0] {
	case "solve":
		seed := flags.Uint64("seed", 0, "which of the many tries")
		kicks := flags.Int("kicks", 3000, "how hard to try")
		do = func() (task, error) { return trySeed(*in, *out, solve.Options{Seed: *seed, Kicks: *kicks}, stdout) }
	case "combine":
		do = func() (task, error) { return combineAll(*in, *out, stdout), nil }
	default:
		return nil, fmt.Errorf("%q: expected solve or combine", args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return nil, err
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("%q: expected flags only", flags.Arg(0))
	}
	return do()
}

// trySeed is a unit: at last it writes its tour and prints one line about it.
func trySeed(in, out string, o solve.Options, stdout io.Writer) (task, error) {
	if o.Kicks < 0 || o.Kicks > maxKicks {
		return nil, fmt.Errorf("--kicks %d: expected 0 to %d", o.Kicks, maxKicks)
	}
	airports, err := readAirports(filepath.Join(in, "airports.csv"))
	if err != nil {
		return nil, err
	}
	try, err := solve.Begin(airports, o)
	if err != nil {
		return nil, err
	}
	return func() (bool, error) {
		if left := try.Kick(stepKicks); left > 0 {
			guest.Progress(1 - float64(left)/float64(o.Kicks))
			return false, nil
		}
		return true, write(out, o.Seed, try.Result(), stdout)
	}, nil
}

func readAirports(path string) ([]route.Airport, error) {
	file, err := os.Open(path) //nolint:gosec // the folder is where the user wants it
	if err != nil {
		return nil, err
	}
	airports, err := route.Read(filepath.Base(path), file)
	return airports, errors.Join(err, file.Close())
}

func write(out string, seed uint64, found solve.Result, stdout io.Writer) error {
	tour, err := os.Create(filepath.Join(out, "tour.csv")) //nolint:gosec // the folder is where the user wants it
	if err != nil {
		return err
	}
	if err := errors.Join(route.Write(tour, found.Tour), tour.Close()); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(combine.Line{
		Seed: seed, GreedyKm: meters(found.GreedyKm), Km: meters(found.Km),
	})
}

// meters rounds km to the metre: what is behind that is the arithmetic's, not the tour's.
func meters(km float64) float64 { return math.Round(km*1000) / 1000 }

// combineAll finds the best tour of all units and draws it, in one step: it takes no longer.
func combineAll(in, out string, stdout io.Writer) task {
	return func() (bool, error) {
		results, err := combine.Read(os.DirFS(in))
		if err != nil {
			return false, err
		}
		return true, results.Write(out, stdout)
	}
}
