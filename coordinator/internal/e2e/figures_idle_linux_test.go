package e2e_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// first measures the time from the start of gridctl submit until a unit has run, on idle agents.
func (f *figures) first(b *testing.B) {
	const what = "submit → first unit done, three idle agents"
	// At this level an agent says when the first unit of a job ended.
	g := benchGrid(b, 3, "--cores", "1", "--log-level", "debug")
	kinds := []struct {
		what, reach, name, args string
		program                 []byte
		times                   int
		warm                    bool
	}{
		{what: what + ", C, cold cache", reach: "500 ms", name: "c", args: `[echo, "${unit}"]`, program: f.loops(b, what).wasm, times: 20},
		{what: "the same, Go, cold cache", name: "go", args: "[]", program: goNoop(b), times: 5},
		{what: "the same, Go, warm cache", name: "gowarm", args: "[]", program: goNoop(b), times: 20, warm: true},
	}
	took := make([][]time.Duration, len(kinds))
	for n := range 20 + 1 {
		for i, k := range kinds {
			if n > k.times {
				continue
			}
			m := measured{name: fmt.Sprintf("%s-%d", k.name, n), program: k.program, args: k.args, units: 3}
			if !k.warm {
				m.program = changed(m.program, n)
			}
			if t := g.firstUnit(m); n > 0 { // the first time fills the warm cache
				took[i] = append(took[i], t)
			}
		}
	}
	for i, k := range kinds {
		f.add(k.what, k.reach, "%d ms", middle(took[i]).Milliseconds())
		b.ReportMetric(float64(middle(took[i]).Milliseconds()), k.name+"-ms")
	}
}

// firstUnit submits a job and returns how long it took until the first of its units was done.
func (g *grid) firstUnit(m measured) time.Duration {
	g.t.Helper()
	job := g.write(m)
	start := time.Now()
	id := g.submit(job)
	var first time.Time
	g.until("a unit of "+m.name+" is done", func() bool {
		for _, a := range g.agents {
			at, ok := a.logged("first unit ended", "job="+id.Short())
			if ok && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
		return !first.IsZero()
	})
	return first.Sub(start)
}

// logged returns when a daemon logged a line that has these texts.
func (d *daemon) logged(texts ...string) (at time.Time, ok bool) {
	d.g.t.Helper()
	for line := range strings.Lines(d.log()) {
		for _, text := range texts {
			if !strings.Contains(line, text) {
				line = ""
			}
		}
		if stamp, found := strings.CutPrefix(line, "time="); found {
			stamp, _, _ = strings.Cut(stamp, " ")
			at, err := time.Parse(time.RFC3339, stamp)
			if err != nil {
				d.g.t.Fatal(err)
			}
			return at, true
		}
	}
	return at, false
}

// native compares the CPU time of the same source as WebAssembly and natively.
func (f *figures) native(b *testing.B) {
	const what = "CPU time as WebAssembly to native, "
	loops := f.loops(b, what)
	g := emptyGrid(b, time.Hour)
	for _, kind := range []struct{ name, n string }{{"int", "60000000"}, {"float", "40000000"}} {
		var ratios []float64
		for round := range rounds {
			wasm := g.alone(measured{
				name: fmt.Sprintf("%s-%d", kind.name, round), program: loops.wasm, args: fmt.Sprintf("[%s, %q]", kind.name, kind.n), units: fewUnits,
			})
			ratios = append(ratios, wasm.cpu.Seconds()/nativeAlone(b, loops.native, kind.name, kind.n).cpu.Seconds())
		}
		f.add(what+kind.name+" loop", "", "%.2f", middle(ratios))
		b.ReportMetric(middle(ratios), kind.name+"-ratio")
	}
}

// idle measures agents that have nothing to do, with all defaults, for BENCH_IDLE: three of class always-on, and one of
// class office whose owner sits at a screen and does nothing.
func (f *figures) idle(b *testing.B) {
	const agents = 3
	length := 10 * time.Minute
	if text := os.Getenv("BENCH_IDLE"); text != "" {
		var err error
		if length, err = time.ParseDuration(text); err != nil {
			b.Fatalf("BENCH_IDLE: %v", err)
		}
	}
	g := benchGrid(b, agents)
	g.addAgent(office, "--log-level", "info")
	g.awaitSeen(agents+1, append([]*daemon{g.coordinator}, g.agents[:agents]...)...)
	helper, missing := g.helper(g.agents[agents])
	pids := make([]int, agents, agents+2)
	for i, a := range g.agents[:agents] {
		pids[i] = a.cmd.Process.Pid
	}
	if missing == nil {
		pids = append(pids, g.agents[agents].cmd.Process.Pid, helper)
	}
	g.wait(settled) // who is new in a pool is written down
	before := g.costs(pids)
	g.wait(length)
	after := g.costs(pids)
	perMinute := func(i int) float64 { return float64(after[i].ticks-before[i].ticks) / 100 / length.Minutes() }
	most, memory := 0.0, 0
	for i := range agents {
		most, memory = max(most, perMinute(i)), max(memory, g.memory(pids[i], "Rss:"))
	}
	f.add(fmt.Sprintf("idle agent, the most of three in a pool of four with a coordinator, %s: memory", length), "40 MiB", "%.0f MiB", float64(memory)/1024)
	f.add("the same: CPU", "0.05 s a minute", "%.3f s a minute", most)
	b.ReportMetric(most, "idle-cpu-s/min")
	b.ReportMetric(float64(memory)/1024, "idle-MiB")
	const what = "idle agent of class office, with its signals and a helper under X11, in the same pool: "
	if missing != nil {
		f.add(what, "", "not measured: %v", missing)
		return
	}
	f.add(what+"memory", "40 MiB", "%.0f MiB, its helper %.0f MiB", float64(g.memory(pids[agents], "Rss:"))/1024, float64(g.memory(helper, "Rss:"))/1024)
	f.add("the same: CPU", "0.05 s a minute", "%.3f s a minute, its helper %.3f s", perMinute(agents), perMinute(agents+1))
	f.add("the same: written to disk", "nothing in an hour", "%d KiB", (after[agents].written-before[agents].written)>>10)
	b.ReportMetric(perMinute(agents), "office-cpu-s/min")
}

// settled is after what time an agent has written down whom it found in the pool.
const settled = 12 * time.Minute

func (g *grid) wait(d time.Duration) {
	g.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.ctx.Done():
		g.t.Fatal("the benchmark's time is up")
	}
}

// helper starts a desktop of X11 and the helper of a session there, and returns its process; an error says what this
// machine lacks for that.
func (g *grid) helper(of *daemon) (pid int, err error) {
	g.t.Helper()
	for _, name := range []string{"Xvfb", "dbus-daemon"} {
		if _, err := exec.LookPath(name); err != nil {
			return 0, err
		}
	}
	display := g.background(exec.Command("Xvfb", "-displayfd", "1"))
	bus := g.background(exec.Command("dbus-daemon", "--session", "--nofork", "--print-address=1"))
	cmd := exec.Command(program("gridagent"), "session-helper", "--state", of.state)
	cmd.Env = append(os.Environ(), "DISPLAY=:"+display, "DBUS_SESSION_BUS_ADDRESS="+bus, "XDG_SESSION_TYPE=x11", "WAYLAND_DISPLAY=")
	log, err := cmd.StderrPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	g.spawn(cmd)
	// Nobody asks the agent: it would write down who looked.
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if strings.Contains(lines.Text(), "reports to the agent") {
			return cmd.Process.Pid, nil
		}
	}
	g.t.Fatal("the helper does not report")
	return 0, nil
}

// background starts a program that ends with the test, and returns the first line that it writes.
func (g *grid) background(cmd *exec.Cmd) string {
	g.t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	g.spawn(cmd)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		g.t.Fatalf("%v says nothing: %v", cmd.Args, err)
	}
	return strings.TrimSpace(line)
}

// spawn starts a program that is killed when the test ends.
func (g *grid) spawn(cmd *exec.Cmd) {
	g.t.Helper()
	if err := cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if err := cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			g.t.Error(err)
		}
		_ = cmd.Wait() // a process that was killed always gives an error
	})
}

// cost is what a process used: hundredths of a second of CPU time, Linux's unit here whatever the kernel, and bytes that
// it made the disk write.
type cost struct{ ticks, written int }

func (g *grid) costs(pids []int) (all []cost) {
	g.t.Helper()
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		io, ioErr := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
		if err := errors.Join(err, ioErr); err != nil {
			g.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(rest)
		c := cost{ticks: g.number(fields[11]) + g.number(fields[12])} // utime, stime
		for line := range strings.Lines(string(io)) {
			if written, ok := strings.CutPrefix(line, "write_bytes: "); ok {
				c.written = g.number(strings.TrimSpace(written))
			}
		}
		all = append(all, c)
	}
	return all
}

// memory returns what a process has of a kind of memory, in KiB.
func (g *grid) memory(pid int, kind string) int {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		g.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == kind {
			return g.number(fields[1])
		}
	}
	g.t.Fatalf("no %s in smaps_rollup", kind)
	return 0
}

func (g *grid) number(text string) int {
	g.t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}
