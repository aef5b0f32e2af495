package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/node"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gridagent": main, "exits": exits})
}

// exits is gridagent that must end with an exit code: exits 3 status.
func exits() {
	want := os.Args[1]
	os.Args = append([]string{"gridagent"}, os.Args[2:]...)
	if code := run(); strconv.Itoa(code) != want {
		fmt.Fprintf(os.Stderr, "exit code %d, expected %s\n", code, want)
		os.Exit(1)
	}
}

// TestScripts runs the program where no agent runs. The scripts have the state folder "joined", of an office
// agent.
func TestScripts(t *testing.T) {
	grid := identitytest.NewGrid(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
		Setup: func(env *testscript.Env) error {
			joined := env.WorkDir + "/joined"
			if err := os.Mkdir(joined, 0o700); err != nil {
				return err
			}
			dir, err := os.OpenRoot(joined)
			if err != nil {
				return err
			}
			id := grid.Agent()
			env.Setenv("ID", id.ID().String())
			env.Setenv("SHORT", id.ID().Short())
			return errors.Join(id.Save(dir), node.SaveGrid(dir, node.Grid{}), dir.Close())
		},
	})
}
