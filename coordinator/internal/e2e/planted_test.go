package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestPlanted plants bugs, one at a time, and has simulated hours look for them: one that none of the seeds finds shows
// that they look away. It takes minutes: PLANTED=one has one bug looked for by one seed, and PLANTED=all all of them.
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
		finds      []string // what the simulation says of it, one of these
		quick      bool
	}{
		{"node.last", "the last copy is deleted", []string{"is not here", "has no outcome"}, true},
		{"steward.lease", "a lease counts as done", []string{"has open units"}, false},
		{"records.first", "who is first has it for good", []string{"two stewards show"}, false},
	} {
		if !bug.quick && !all {
			continue
		}
		t.Run(bug.name, func(t *testing.T) {
			run := exec.Command(sim, "-test.run", "^TestChaos$", "-test.parallel", "2")
			run.Dir = t.TempDir()
			run.Env = append(os.Environ(), "IDLEGRID_PLANTED="+bug.name, "CHAOS_HOURS=1", "CHAOS_SEED=1")
			if !all {
				run.Env = append(run.Env, "CHAOS_SEEDS=1")
			}
			out, err := run.CombinedOutput()
			if err == nil {
				t.Fatalf("%s, and no seed finds it", bug.what)
			}
			for _, says := range bug.finds {
				if strings.Contains(string(out), says) {
					return
				}
			}
			t.Errorf("%s, and the seeds fail for something else: %v\n%s", bug.what, err, out)
		})
	}
}
