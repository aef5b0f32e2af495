package e2e_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"idlegrid/agent/executor"
)

// binVariable names the folder of the programs that all tests of a run share.
const binVariable = "E2E_TEST_BIN"

// parallel is how many tests run at once: most of their time they wait for a timer of the grid's.
const parallel = "8"

func TestMain(m *testing.M) {
	executor.Main()
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "e2e-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	os.Setenv(binVariable, dir)
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build makes the three programs and the example's in dir.
func build(dir string) error {
	wasip1 := []string{"GOOS=wasip1", "GOARCH=wasm"}
	return errors.Join(
		goBuild(nil, "-tags", "failpoints", "-o", dir+string(filepath.Separator),
			"./agent/cmd/gridagent", "./coordinator/cmd/gridcoordinator", "./coordinator/cmd/gridctl"),
		goBuild(wasip1, "-buildmode=c-shared", "-ldflags=-s -w", "-o", filepath.Join(dir, "tour.wasm"), "./jobs/examples/tour"),
		goBuild(wasip1, "-ldflags=-s -w", "-o", filepath.Join(dir, "guest.wasm"), "./agent/executor/testdata/guest"),
	)
}

// goBuild runs go build in the module's folder.
func goBuild(env []string, args ...string) error {
	c := exec.Command("go", append([]string{"build"}, args...)...)
	c.Dir = filepath.FromSlash("../../..")
	c.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...) // as make builds them, with the race detector on or off
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", c.Args, err, out)
	}
	return nil
}

// program returns the path of one of the programs.
func program(name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(os.Getenv(binVariable), name)
}
