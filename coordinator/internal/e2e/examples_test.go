package e2e_test

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const examples = "../../../jobs/examples"

// builtInC makes the program of an example in C and returns its path. Without a tool that it needs the test is skipped,
// but never in CI, which installs them.
func builtInC(t *testing.T, name string, tools ...string) string {
	t.Helper()
	for _, tool := range tools {
		variable := strings.ToUpper(strings.ReplaceAll(tool, "-", "_")) // as the Makefile has it
		tool = cmp.Or(os.Getenv(variable), tool)
		if _, err := exec.LookPath(tool); err == nil {
			continue
		} else if os.Getenv("CI") == "true" {
			t.Fatalf("CI must run the examples in C: %v", err)
		} else {
			t.Skipf("SKIPPED, THE EXAMPLE %s IN C IS NOT TESTED: %v (Debian: apt install clang lld wasi-libc libclang-rt-14-dev-wasm32 binaryen)", name, err)
		}
	}
	build := exec.Command("make", "-s", filepath.Join("jobs/examples", name, name+".wasm"))
	build.Dir = "../../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", build.Args, err, out)
	}
	return filepath.Join(examples, name, name+".wasm")
}

// example copies a job of an example into the grid's folder, with the files that it names.
func (g *grid) example(name, job string, files ...string) string {
	g.t.Helper()
	dir := g.path(name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		g.t.Fatal(err)
	}
	for _, file := range append(files, filepath.Join(examples, name, job)) {
		text, err := os.ReadFile(file)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(file)), text, 0o600)
		}
		if err != nil {
			g.t.Fatal(err)
		}
	}
	return filepath.Join(dir, job)
}
