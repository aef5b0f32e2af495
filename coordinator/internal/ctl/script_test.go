package ctl_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"idlegrid/agent/executor"
	"idlegrid/coordinator/internal/ctl"
	"idlegrid/jobs"
)

func TestMain(m *testing.M) {
	executor.Main()
	testscript.Main(m, map[string]func(){
		"gridctl": func() { os.Exit(ctl.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
		"exits":   exits,
	})
}

// exits is gridctl that must end with an exit code: exits 3 run job.yaml.
func exits() {
	code := ctl.Main(os.Args[2:], os.Stdin, os.Stdout, os.Stderr)
	if want := os.Args[1]; strconv.Itoa(code) != want {
		fmt.Fprintf(os.Stderr, "exit code %d, expected %s\n", code, want)
		os.Exit(1)
	}
}

// TestScripts runs the scripts. They find the Go guest at $GUEST and hand-made modules in $WASM, and share a
// cache of compiled programs.
func TestScripts(t *testing.T) {
	notShort(t)
	dir := t.TempDir()
	guest := buildGuest(t, dir)
	for name, module := range modules {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(module), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GUEST", guest)
			env.Setenv("WASM", dir)
			for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
				env.Setenv(name, dir)
			}
			return nil
		},
	})
}

// notShort skips scripts under -short, as with the race detector: each of their lines is a process of its own.
func notShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("scripts take too long for -short")
	}
}

func buildGuest(t *testing.T, dir string) string {
	t.Helper()
	file := filepath.Join(dir, "guest.wasm")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./testdata/guest") // file is a test's own
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the guest: %v\n%s", err, out)
	}
	pool := executor.NewPool(executor.Options{Cache: filepath.Join(dir, "idlegrid", "compiled")})
	defer pool.Close()
	wasm, err := os.ReadFile(file) // file is a test's own
	if err == nil {                // Else every script that comes first would compile it.
		err = pool.Prepare(t.Context(), &executor.Program{Path: file, Digest: jobs.DigestOf(wasm), Memory: 64 << 20})
	}
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// modules are the smallest programs there are: a type () -> (), one function, and for those that run, the
// exports _start and memory.
var modules = map[string]string{
	"nothing.wasm": wasmHead + "\x03\x02\x01\x00" + wasmMemory + wasmExports("\x00") + "\x0a\x04\x01\x02\x00\x0b",
	"trap.wasm":    wasmHead + "\x03\x02\x01\x00" + wasmMemory + wasmExports("\x00") + "\x0a\x05\x01\x03\x00\x00\x0b",
	"spin.wasm":    wasmHead + "\x03\x02\x01\x00" + wasmMemory + wasmExports("\x00") + "\x0a\x09\x01\x07\x00\x03\x40\x0c\x00\x0b\x0b",
	"nostart.wasm": wasmHead,
	"import.wasm": wasmHead + "\x02\x0d\x01\x03env\x05magic\x00\x00" + "\x03\x02\x01\x00" + wasmMemory +
		wasmExports("\x01") + "\x0a\x04\x01\x02\x00\x0b",
	"call.wasm": wasmHead + "\x02\x13\x01\x04grid\x0acheckpoint\x00\x00" + "\x03\x02\x01\x00" + wasmMemory +
		wasmExports("\x01") + "\x0a\x04\x01\x02\x00\x0b",
	"step.wasm": wasmStep + "\x07\x0d\x01\x09grid_step\x00\x00" + wasmStepBodies,
	"both.wasm": wasmStep + "\x07\x16\x02\x09grid_step\x00\x00\x06_start\x00\x01" + wasmStepBodies,
}

// A module of () -> i32, which returns 1, and () -> ().
const (
	wasmStep       = "\x00asm\x01\x00\x00\x00" + "\x01\x08\x02\x60\x00\x01\x7f\x60\x00\x00" + "\x03\x03\x02\x00\x01"
	wasmStepBodies = "\x0a\x09\x02\x04\x00\x41\x01\x0b\x02\x00\x0b"
)

const (
	wasmHead   = "\x00asm\x01\x00\x00\x00" + "\x01\x04\x01\x60\x00\x00"
	wasmMemory = "\x05\x03\x01\x00\x01"
)

func wasmExports(start string) string {
	return "\x07\x13\x02" + "\x06_start\x00" + start + "\x06memory\x02\x00"
}
