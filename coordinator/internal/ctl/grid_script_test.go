package ctl_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/coordinator/internal/ctl"
)

// TestGridScripts runs the scripts that need a grid, all of them the same one. Each is a submitter of its own,
// with $TOKEN and $SECOND_TOKEN to log in, and $AGENT_TOKEN and $EXPIRED_TOKEN that are of no use.
func TestGridScripts(t *testing.T) {
	grid := ctl.NewGrid(t)
	dir := t.TempDir()
	for name, module := range modules {
		writeFile(t, filepath.Join(dir, name), module)
	}
	writeFile(t, filepath.Join(dir, "large.bin"), strings.Repeat("large ", 1<<18))
	submitter := identity.Grant{Role: peer.Submitter}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "grid"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"setenv": setenv},
		Setup: func(env *testscript.Env) error {
			env.Setenv("WASM", dir)
			env.Setenv("GRID_CONFIG", filepath.Join(env.WorkDir, "login"))
			for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
				env.Setenv(name, dir)
			}
			env.Setenv("TOKEN", grid.Token(submitter, time.Hour))
			env.Setenv("SECOND_TOKEN", grid.Token(submitter, time.Hour))
			env.Setenv("AGENT_TOKEN", grid.Token(identity.Grant{Role: peer.Agent, Class: peer.Office}, time.Hour))
			env.Setenv("EXPIRED_TOKEN", grid.Token(submitter, time.Millisecond))
			return nil
		},
	})
}

// setenv sets a variable to what the last command printed: setenv NAME.
func setenv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: setenv NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
