package e2e_test

import (
	"fmt"
	"os"
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

// idle measures agents that have nothing to do, with all defaults, for BENCH_IDLE.
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
	before := g.cpuTicks()
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-g.ctx.Done():
		b.Fatal("the benchmark's time is up")
	}
	most, mostRSS, mostPSS := 0.0, 0, 0
	for i, after := range g.cpuTicks() {
		most = max(most, float64(after-before[i])/100/length.Minutes())
		mostRSS = max(mostRSS, g.memory(g.agents[i], "Rss:"))
		mostPSS = max(mostPSS, g.memory(g.agents[i], "Pss:"))
	}
	f.add(fmt.Sprintf("idle agent, the most of three with a coordinator, %s: memory", length), "40 MiB",
		"%.0f MiB RSS, %.0f MiB PSS", float64(mostRSS)/1024, float64(mostPSS)/1024)
	f.add("the same: CPU", "0.05 s a minute", "%.3f s a minute", most)
	b.ReportMetric(most, "idle-cpu-s/min")
	b.ReportMetric(float64(mostRSS)/1024, "idle-MiB")
}

// cpuTicks returns what each agent used, in hundredths of a second: Linux's unit here, whatever the kernel.
func (g *grid) cpuTicks() (ticks []int) {
	g.t.Helper()
	for _, a := range g.agents {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.cmd.Process.Pid))
		if err != nil {
			g.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		ticks = append(ticks, g.number(fields[11])+g.number(fields[12])) // utime, stime
	}
	return ticks
}

// memory returns what a process has of a kind of memory, in KiB.
func (g *grid) memory(of *daemon, kind string) int {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", of.cmd.Process.Pid))
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
