package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlegrid/jobs/examples/tour/route"
)

// TestTour runs the example as the demo does, and gets its results again.
func TestTour(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always, always)
	job := g.example("tour", "small.yaml", "../../../jobs/examples/tour/airports.csv", filepath.Join(os.Getenv(binVariable), "tour.wasm"))
	g.must("gridctl", "run", job, "-d", "local")
	out := g.must("gridctl", "submit", job, "--wait", "-d", "results")
	g.sameUnits("results", "local")
	km := g.checkTour("results")
	if best := fmt.Sprintf("%.0f", km); !strings.Contains(strings.ReplaceAll(out.stdout, ",", ""), best) {
		t.Errorf("the best tour has %s km, combine printed:\n%s", best, out.stdout)
	}
	for _, agent := range g.agents {
		if agent.addresses().PID == 0 {
			t.Errorf("%s has ended", agent.name)
		}
	}
	t.Run("results again", func(t *testing.T) { g.resultsAgain("tour-small", "results", "local") })
	t.Run("SIGTERM", func(t *testing.T) { g.stopsInTime() })
}

// checkTour returns the length of the best tour, after it was checked against the airports.
func (g *grid) checkTour(results string) float64 {
	g.t.Helper()
	airports, err := os.Open(g.path("tour", "airports.csv"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer airports.Close()
	tour, err := os.Open(g.path(results, "combined", "out", "best.csv"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer tour.Close()
	km, err := route.Check(airports, tour)
	if err != nil {
		g.t.Fatal(err)
	}
	if km < 10_000 { // The coasts alone are further apart, there and back.
		g.t.Errorf("a tour of %.0f km", km)
	}
	return km
}

// resultsAgain takes one unit away and spoils another: getting the results again writes these two and leaves
// the others as they are.
func (g *grid) resultsAgain(job, dir, want string) {
	g.t.Helper()
	unit := func(n int) string { return g.path(dir, "units", fmt.Sprintf("%06d", n)) }
	written := func(n int) time.Time {
		info, err := os.Stat(filepath.Join(unit(n), "meta.json"))
		if err != nil {
			g.t.Fatal(err)
		}
		return info.ModTime()
	}
	before := map[int]time.Time{}
	for n := range g.units(dir) {
		before[n] = written(n)
	}
	const gone, spoilt = 1, 3
	err := errors.Join(
		os.RemoveAll(unit(gone)),
		os.WriteFile(filepath.Join(unit(spoilt), "stdout"), []byte("something else"), 0o600),
	)
	if err != nil {
		g.t.Fatal(err)
	}
	g.must("gridctl", "results", job, "-d", dir)
	g.sameUnits(dir, want)
	for n, old := range before {
		if fresh := !written(n).Equal(old); fresh != (n == gone || n == spoilt) {
			g.t.Errorf("unit %d was written again: %t", n, fresh)
		}
	}
}

// stopsInTime asks all daemons to end, agents first.
func (g *grid) stopsInTime() {
	g.t.Helper()
	for _, d := range append(g.agents, g.coordinator) {
		if took := d.stop(); took > promisedStop {
			g.t.Errorf("%s took %s to stop, promised are %s", d.name, took, promisedStop)
		}
		if a := d.addresses(); a.PID != 0 {
			g.t.Errorf("%s left its addresses behind: %v", d.name, a)
		}
	}
}
