package e2e_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// nastyUnits are what the units of a job do, and how gridctl tells of them. No reason: the unit succeeds.
var nastyUnits = []struct{ does, reason string }{
	{"echo good 0", ""},
	{"spin", "timeout: ran longer than 30s"},
	{"echo good 2", ""},
	{"alloc 1000", "memory: "},
	{"pour 10240", "exit: wrote more than 16777216 bytes to standard output"},
	{"fill 163840", "exit: exit code 1; /out is full: 67108864 bytes"},
	{"exit 3", "exit: exit code 3"},
	{"bytes", ""},
	{"panic", "exit: exit code 2"},
	{"recurse", "memory: "},
	{"open /out", "exit: exit code 1; 1,000 files are open"},
	{"create 10000", "exit: exit code 1; /out holds 1000 files and folders"},
	{"stdin", ""},
	{"readon", "timeout: ran longer than 30s"},
	{"sleep", ""},
	{"env", ""},
	{"floodstderr", ""},
	{"escape", ""},
	{"echo good 18", ""},
}

// TestNastyUnits runs units that do what they should not, next to good ones. Each ends as it should, the same on the
// grid as on one machine, and no agent ends.
func TestNastyUnits(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always)
	job := g.nastyJob()
	g.exits(3, "gridctl", "run", job, "-d", "local")
	id := g.submit(job)
	peaks := map[*daemon]*memory{}
	for _, a := range g.agents {
		peaks[a] = watchMemory(g, a)
	}
	out := g.exits(3, "gridctl", "results", id.String(), "--wait", "-d", "results")
	failed := 0
	for n, row := range g.units("results") {
		want := nastyUnits[n]
		status := "accepted"
		if want.reason != "" {
			status = "failed"
			failed++
			out.says(t, fmt.Sprintf("unit %d failed: %s", n, want.reason))
		}
		if row.Status != status {
			t.Errorf("unit %d, %q, is %s, expected %s", n, want.does, row.Status, status)
		}
	}
	if got, want := g.units("results"), g.units("local"); !slices.Equal(got, want) {
		t.Errorf("units differ:\n%v\nexpected:\n%v", got, want)
	}
	if s := g.status("nasty"); s.State != "incomplete" || s.Failed != failed || s.Accepted != len(nastyUnits)-failed {
		t.Errorf("status: %+v, expected %d of %d units to have failed", s, failed, len(nastyUnits))
	}
	for _, a := range g.agents {
		if a.hasEnded() || !a.listens() {
			t.Errorf("%s has ended", a.name)
		}
		peaks[a].stopWithin(t, a.name)
	}
	for n, want := range map[int]string{0: "program [good 0]", 7: "\xff\xfe\x00a", 12: "bytes 0\n", 14: "true\n", 15: "12004\n"} {
		if got := g.read("results", "units", fmt.Sprintf("%06d", n), "stdout"); !strings.HasPrefix(got, want) {
			t.Errorf("unit %d wrote %.100q, expected %q", n, got, want)
		}
	}
	g.traps()
}

// nastyJob writes the job. Its environment is about as large as a manifest may have it.
func (g *grid) nastyJob() string {
	g.t.Helper()
	yaml := "name: nasty\nprogram: guest.wasm\nmemory: 64MiB\ntimeout: 30s\nretries: 0\n" +
		fmt.Sprintf("env: {PAD: %q}\nunits: {count: %d}\nargs:\n- pick\n- \"${unit}\"\n", strings.Repeat("x", 12000), len(nastyUnits))
	for _, u := range nastyUnits {
		yaml += "- " + u.does + "\n"
	}
	guest, err := os.ReadFile(filepath.Join(os.Getenv(binVariable), "guest.wasm"))
	if err == nil {
		err = errors.Join(
			os.Mkdir(g.path("nasty"), 0o700),
			os.WriteFile(g.path("nasty", "guest.wasm"), guest, 0o600),
			os.WriteFile(g.path("nasty", "job.yaml"), []byte(yaml), 0o600),
		)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return g.path("nasty", "job.yaml")
}

// traps runs programs whose code traps, which a Go program does not.
func (g *grid) traps() {
	g.t.Helper()
	const self, opUnreachable = 4, 0 // the number of the function, behind those imported
	for name, trap := range map[string]struct {
		body []byte
		says string
	}{
		"unreachable": {[]byte{opUnreachable}, "unit 0 failed: trap: wasm error: unreachable"},
		"endless":     {call(self), "unit 0 failed: trap: stack overflow"},
	} {
		job := g.job(name, 1, 1, "retries: 0")
		if err := os.WriteFile(g.path(name, "counter.wasm"), wasm(trap.body), 0o600); err != nil {
			g.t.Fatal(err)
		}
		g.exits(3, "gridctl", "submit", job, "--wait", "-d", name+"-results").says(g.t, trap.says)
	}
}

// memory is the most that an agent and its children took.
type memory struct {
	agent, child int // MiB
	end, ended   chan struct{}
}

const (
	// agentMemory and childMemory bound both in MiB. An agent has outcomes of at most 16 MiB and 64 MiB in hand, a
	// few at once; a child a guest's 64 MiB and its /out.
	agentMemory = 512
	childMemory = 512
)

// watchMemory looks at an agent's memory until stopWithin.
func watchMemory(g *grid, a *daemon) *memory {
	m := &memory{end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		for {
			m.look(a.cmd.Process.Pid)
			select {
			case <-m.end:
				return
			case <-g.ctx.Done():
				return
			case <-a.ended:
				return
			case <-time.After(look):
			}
		}
	}()
	return m
}

// look reads what the system says of a process and its children.
func (m *memory) look(pid int) {
	m.agent = max(m.agent, peakOf(pid))
	for _, child := range childrenOf(pid) {
		m.child = max(m.child, peakOf(child))
	}
}

// childrenOf returns the children of a process; Linux tells of them.
func childrenOf(pid int) (children []int) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		panic(err) // a bad pattern
	}
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended
		}
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				children = append(children, n)
			}
		}
	}
	return children
}

// peakOf returns the most memory that a process had so far, in MiB; 0 when it has ended.
func peakOf(pid int) int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib := 0
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0
	}
	return kib >> 10
}

// stopWithin ends the looking, and fails the test where it took too much memory. Only Linux tells.
func (m *memory) stopWithin(t *testing.T, name string) {
	t.Helper()
	close(m.end)
	<-m.ended
	if runtime.GOOS != "linux" {
		return
	}
	t.Logf("%s took at most %d MiB, its children %d MiB each", name, m.agent, m.child)
	if m.agent == 0 || m.agent > agentMemory || m.child == 0 || m.child > childMemory {
		t.Errorf("%s: expected at most %d MiB and %d MiB each, and above zero", name, agentMemory, childMemory)
	}
}
