package e2e_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// rounds is how often things that are compared are measured in turn. What is shown is the median.
const rounds = 3

// BenchmarkFigures measures what the README says of speed and size, with real processes, and prints it as a table:
// make bench does. It is no test: a slow machine fails nothing.
func BenchmarkFigures(b *testing.B) {
	f := &figures{}
	b.Run("noop", f.noop)
	b.Run("efficiency", f.efficiency)
	b.Run("first", f.first)
	b.Run("native", f.native)
	b.Run("failover", f.failover)
	b.Run("idle", f.idle)
	b.Run("pool", f.pool)
	f.print()
}

// benchGrid starts a grid of agents with the default settings but for these flags.
func benchGrid(b *testing.B, agents int, flags ...string) *grid {
	b.Helper()
	g := patientGrid(b, 4*time.Hour)
	for range agents {
		g.addAgent(always, append([]string{"--log-level", "info"}, flags...)...)
	}
	g.awaitEligible(agents)
	return g
}

// figures are the rows of the table.
type figures struct{ rows [][3]string }

func (f *figures) add(what, reach, format string, args ...any) {
	f.rows = append(f.rows, [3]string{what, fmt.Sprintf(format, args...), reach})
}

func (f *figures) print() {
	fmt.Printf("\n| what | figure | reach |\n|---|---|---|\n")
	for _, r := range f.rows {
		fmt.Printf("| %s | %s | %s |\n", r[0], r[1], r[2])
	}
	fmt.Printf("\n%s, %d cores, %s, %s, %s\n", fact("/proc/cpuinfo", "model name"), runtime.NumCPU(),
		fact("/etc/os-release", "PRETTY_NAME"), runtime.Version(), time.Now().Format(time.DateOnly))
}

// fact returns what a file says of a key.
func fact(file, key string) string {
	text, _ := os.ReadFile(file) // without it the table lacks a word
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, map[bool]string{true: ":", false: "="}[strings.Contains(line, ":")]); ok && strings.TrimSpace(name) == key {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return "unknown"
}

// middle returns the median.
func middle[T time.Duration | float64](list []T) T {
	slices.Sort(list)
	return list[len(list)/2]
}

// compiled is the program of testdata, as WebAssembly and for this machine.
type compiled struct {
	wasm   []byte
	native string // its path
}

// loops compiles the program. Without clang the benchmark is skipped.
func (f *figures) loops(b *testing.B, what string) compiled {
	b.Helper()
	const source = "testdata/loops.c"
	clang, err := exec.LookPath("clang")
	if err != nil {
		f.add(what, "", "not measured: %v", err)
		b.SkipNow()
	}
	sysroot := os.Getenv("WASI_SYSROOT")
	if sysroot == "" {
		sysroot = "/usr"
	}
	c := compiled{native: filepath.Join(b.TempDir(), "loops")}
	command(b, exec.Command(clang, "-O2", "-ffp-contract=off", "-o", c.native, source))
	command(b, exec.Command(clang, "--target=wasm32-wasi", "--sysroot="+sysroot, "-O2", "-ffp-contract=off",
		"-Wl,--strip-all", "-o", c.native+".wasm", source))
	c.wasm = read(b, c.native+".wasm")
	return c
}

// goNoop returns a program in Go that does nothing.
func goNoop(b *testing.B) []byte {
	b.Helper()
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", "noop.wasm", "main.go")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	command(b, cmd)
	return read(b, filepath.Join(dir, "noop.wasm"))
}

// command runs a command that has to succeed.
func command(b *testing.B, cmd *exec.Cmd) {
	b.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

func read(b *testing.B, path string) []byte {
	b.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

// changed returns a program that does the same and is another one, which no cache has.
func changed(program []byte, n int) []byte {
	return slices.Concat(program, section(0, text("benchmark"), text(strconv.Itoa(n))))
}
