package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The hours that are tried until one finds a bug: of a day's many faults each strikes once in an hour, and the moment is
// not always the right one.
const firstPlanted, lastPlanted = 2, 5

// TestPlanted plants bugs, one at a time, and has a simulated hour look for each: one that it does not find shows that the
// simulations look away. A day has all faults, an hour is told which one to have. It takes minutes: PLANTED=one has one bug
// looked for, and PLANTED=all all of them.
func TestPlanted(t *testing.T) {
	which := os.Getenv("PLANTED")
	if which == "" {
		t.Skip("it takes minutes, so make nightly runs it: PLANTED says what")
	}
	all := which == "all"
	sim := filepath.Join(t.TempDir(), "gridtest")
	if runtime.GOOS == "windows" {
		sim += ".exe"
	}
	build := exec.Command("go", "test", "-c", "-tags", "failpoints", "-o", sim, "./coordinator/internal/gridtest")
	build.Dir = filepath.FromSlash("../../..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, bug := range []struct {
		name, what string
		fault      string   // that brings it to light
		finds      []string // what the simulation says of it, one of these
		quick      bool
	}{
		{"node.last", "the last copy is deleted", "kill", []string{"is not here", "has no outcome", "I16: ", "has open units"}, true},
		{"node.offer", "authors do not offer again what was acknowledged", "stewards off", []string{"I5: "}, false},
		{"steward.lease", "a lease counts as done", "kill", []string{"has open units", `gave "wrong`}, false}, // a liar's is the only report
		{"records.first", "who is first has it for good", "lying agent", []string{"two stewards show"}, false},
	} {
		if !bug.quick && !all {
			continue
		}
		t.Run(bug.name, func(t *testing.T) {
			for seed := firstPlanted; ; seed++ {
				out, err := hourWith(t, sim, bug.name, bug.fault, seed)
				switch {
				case err == nil && seed < lastPlanted:
					continue // the fault may have struck where the bug does no harm
				case err == nil:
					t.Fatalf("%s, and no hour finds it", bug.what)
				case !slices.ContainsFunc(bug.finds, func(says string) bool { return strings.Contains(out, says) }):
					t.Errorf("%s, and hour %d fails for something else: %v\n%s", bug.what, seed, err, out)
				}
				return
			}
		})
	}
}

// hourWith simulates an hour with a bug and a fault, and returns what it said.
func hourWith(t *testing.T, sim, bug, fault string, seed int) (string, error) {
	t.Helper()
	run := exec.Command(sim, "-test.run", "^TestChaos$", "-test.v")
	run.Dir = t.TempDir()
	run.Env = append(os.Environ(), "IDLEGRID_PLANTED="+bug, "CHAOS_HOURS=1", "CHAOS_SEEDS=1", "CHAOS_FAULT="+fault, fmt.Sprint("CHAOS_SEED=", seed))
	out, err := run.CombinedOutput()
	return string(out), err
}
