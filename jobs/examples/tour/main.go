// Command tour looks for a short flight to every airport of the United States and home again. It is two programs
// in one file, because a job's units and its combine program may well share one:
//
//	tour solve --seed N     one unit: one try, told from the others by its seed
//	tour combine            afterwards, once: the best of all tries, and a map of it
//
// It is an ordinary program that reads /in, writes /out and prints. Nothing in it knows of a grid.
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
)

const maxKicks = 100_000_000

func main() {
	err := run(os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tour:", err)
		os.Exit(1)
	}
}

func run(args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("expected solve or combine")
	}
	flags := flag.NewFlagSet("tour "+args[0], flag.ContinueOnError)
	in := flags.String("in", "/in", "`folder` with the input files")
	out := flags.String("out", "/out", "`folder` for what is found")
	var do func() error
	switch args[0] {
	case "solve":
		seed := flags.Uint64("seed", 0, "which of the many tries")
		kicks := flags.Int("kicks", 3000, "how hard to try")
		do = func() error { return trySeed(*in, *out, solve.Options{Seed: *seed, Kicks: *kicks}, stdout) }
	case "combine":
		do = func() error { return combineAll(*in, *out, stdout) }
	default:
		return fmt.Errorf("%q: expected solve or combine", args[0])
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%q: expected flags only", flags.Arg(0))
	}
	return do()
}

// trySeed is a unit: it writes its tour and prints one line about it.
func trySeed(in, out string, o solve.Options, stdout io.Writer) (err error) {
	if o.Kicks < 0 || o.Kicks > maxKicks {
		return fmt.Errorf("--kicks %d: expected 0 to %d", o.Kicks, maxKicks)
	}
	file, err := os.Open(filepath.Join(in, "airports.csv")) //nolint:gosec // the folder is where the user wants it
	if err != nil {
		return err
	}
	airports, err := route.Read("airports.csv", file)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	found, err := solve.Tour(airports, o)
	if err != nil {
		return err
	}
	tour, err := os.Create(filepath.Join(out, "tour.csv")) //nolint:gosec // the folder is where the user wants it
	if err != nil {
		return err
	}
	if err := errors.Join(route.Write(tour, found.Tour), tour.Close()); err != nil {
		return err
	}
	return json.NewEncoder(stdout).Encode(combine.Line{
		Seed: o.Seed, GreedyKm: meters(found.GreedyKm), Km: meters(found.Km),
	})
}

// meters rounds km to the metre: what is behind that is the arithmetic's, not the tour's.
func meters(km float64) float64 { return math.Round(km*1000) / 1000 }

// combineAll finds the best tour of all units and draws it.
func combineAll(in, out string, stdout io.Writer) error {
	results, err := combine.Read(os.DirFS(in))
	if err != nil {
		return err
	}
	return results.Write(out, stdout)
}
