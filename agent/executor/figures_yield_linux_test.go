package executor_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/executor/internal/host"
)

// spinners returns a pool of idle priority whose slots all compute, to be frozen in a cgroup v2 or by signals.
func spinners(b *testing.B, slots int, folder string) *executor.Pool {
	b.Helper()
	guest := goGuest(b)
	p := executor.NewPool(executor.Options{Slots: slots, Cache: cacheDir(), Background: true, Cgroup: folder})
	b.Cleanup(p.Close)
	if err := p.Prepare(b.Context(), guest); err != nil {
		b.Fatal(err)
	}
	for range slots {
		u := unit("spin")
		u.Timeout = 0
		go func() { _, _ = p.Run(b.Context(), guest, u) }() // it ends with the pool
	}
	busy := func() bool {
		all := p.CPU()
		return len(all) == slots && slices.Min(all) > 200*time.Millisecond // past its start
	}
	for deadline := time.Now().Add(time.Minute); !busy(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.Fatalf("the executors had %v of CPU time", p.CPU())
		}
	}
	return p
}

// eachWay runs a benchmark with both ways to freeze.
func eachWay(b *testing.B, f func(b *testing.B, folder string)) {
	for _, way := range []string{"cgroup", "signals"} {
		b.Run(way, func(b *testing.B) {
			folder := ""
			if way == "cgroup" {
				if folder = testCgroup(b); folder == "" {
					b.Skip("SKIPPED: needs a cgroup v2 that this user may divide")
				}
			}
			f(b, folder)
		})
	}
}

func quantile(all []time.Duration, q float64) float64 {
	slices.Sort(all)
	return float64(all[min(len(all)-1, int(q*float64(len(all))))].Microseconds()) / 1000
}

// BenchmarkFiguresStop tells how long it takes from Pool.Allow(0) until the last thread of eight computing executors is
// seen to stand still.
func BenchmarkFiguresStop(b *testing.B) {
	eachWay(b, func(b *testing.B, folder string) {
		const executors, times = 8, 200
		p := spinners(b, executors, folder)
		for b.Loop() {
			var took []time.Duration
			for range times {
				time.Sleep(20 * time.Millisecond) // they compute
				start := time.Now()
				if err := p.Allow(0); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
				if err := p.Allow(executors); err != nil {
					b.Fatal(err)
				}
			}
			b.Logf("%s: %d executors, %d stops", p.Yielding(), executors, times)
			b.ReportMetric(quantile(took, 0.5), "p50-ms")
			b.ReportMetric(quantile(took, 0.99), "p99-ms")
			b.ReportMetric(quantile(took, 1), "most-ms")
		}
	})
}

var sink uint64

// burn computes for about so long on a processor of its own.
func burn(rounds int) {
	x := uint64(88172645463325252)
	for range rounds {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	sink += x
}

// roundsFor returns how many rounds of burn take so long.
func roundsFor(d time.Duration) int {
	best := time.Hour
	for range 5 {
		start := time.Now()
		burn(1 << 20)
		best = min(best, time.Since(start))
	}
	return int(float64(d) / float64(best) * (1 << 20))
}

// requests makes a request of 1.9 ms of work every 5 ms on each of two connections for a while, and returns how long
// each took from when it should have been sent.
func requests(b *testing.B, d time.Duration, rounds int) (took []time.Duration) {
	b.Helper()
	const connections, period = 2, 5 * time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for buf := make([]byte, 8); ; {
					if _, err := io.ReadFull(c, buf); err != nil {
						return
					}
					burn(rounds)
					if _, err := c.Write(buf); err != nil {
						return
					}
				}
			}()
		}
	}()
	all := make(chan []time.Duration)
	for range connections {
		go func() {
			var own []time.Duration
			defer func() { all <- own }()
			c, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				b.Error(err)
				return
			}
			defer c.Close()
			buf := binary.LittleEndian.AppendUint64(nil, 1)
			for next, end := time.Now(), time.Now().Add(d); next.Before(end); next = next.Add(period) {
				time.Sleep(time.Until(next))
				if _, err := c.Write(buf); err != nil {
					b.Error(err)
					return
				}
				if _, err := io.ReadFull(c, buf); err != nil {
					b.Error(err)
					return
				}
				own = append(own, time.Since(next))
			}
		}()
	}
	for range connections {
		took = append(took, <-all...)
	}
	return took
}

// quiet is how much of the CPU time others may take while a request loop is measured, so that it counts.
const quiet = 0.08

// measured runs a request loop, and returns its 99th percentile in milliseconds and the share of all CPU time that
// neither it nor executors took.
func measured(b *testing.B, p *executor.Pool, d time.Duration, work int) (p99, foreign float64) {
	b.Helper()
	ours := func() time.Duration {
		sum := host.CPUTime()
		for _, cpu := range p.CPU() {
			sum += cpu
		}
		return sum
	}
	idle, all := processors(b)
	before := ours()
	p99 = quantile(requests(b, d, work), 0.99)
	took := ours() - before
	idleNow, allNow := processors(b)
	all = allNow - all
	return p99, max(0, (all-(idleNow-idle)-float64(took/tick))/all)
}

// BenchmarkFiguresForeground tells the 99th percentile of a request loop's latency while as many executors as cores
// compute, to that without, in turn: the median of the ratios of five rounds in which others took next to nothing. Where
// there is a cgroup v1 of processors, also with them in cgroups as the service has them, and with the service's slice
// idle as well, which would be kinder and starve the agent.
func BenchmarkFiguresForeground(b *testing.B) {
	eachWay(b, func(b *testing.B, folder string) { foreground(b, folder, "") })
	b.Run("cpu.idle", func(b *testing.B) { foreground(b, "", serviceUnits(b, false)) })
	b.Run("idle-slice", func(b *testing.B) { foreground(b, "", serviceUnits(b, true)) })
}

// foreground measures with executors that freeze by a cgroup v2, if any, and are in a cgroup v1 of processors, if any.
func foreground(b *testing.B, folder, units string) {
	const each, rounds, most = 4 * time.Second, 5, 12
	executors := runtime.NumCPU()
	p := spinners(b, executors, folder)
	if units != "" {
		putChildren(b, units)
	}
	work := roundsFor(1900 * time.Microsecond)
	for b.Loop() {
		var good, all []float64
		var told strings.Builder
		for len(all) < most && len(good) < rounds {
			if err := p.Allow(0); err != nil {
				b.Fatal(err)
			}
			without, others := measured(b, p, each, work)
			if err := p.Allow(executors); err != nil {
				b.Fatal(err)
			}
			with, others2 := measured(b, p, each, work)
			fmt.Fprintf(&told, "\np99 with %.2f ms, without %.2f ms; others took %.2f and %.2f of the time", with, without, others2, others)
			all = append(all, with/without)
			if max(others, others2) < quiet {
				good = append(good, with/without)
			}
		}
		b.Logf("%s: %d quiet rounds of %d%s", p.Yielding(), len(good), len(all), told.String())
		if len(good) < rounds {
			b.Log("NOT QUIET: others' load is in this figure")
			good = all
		}
		slices.Sort(good)
		b.ReportMetric(good[len(good)/2], "p99-ratio")
	}
}

// serviceUnits makes an idle cgroup below one with the share of idlegrid.slice: what the executors of the service have by
// cgroup v2, by v1, where the controller is there. The slice too can be idle.
func serviceUnits(b *testing.B, idleSlice bool) string {
	b.Helper()
	slice, err := os.MkdirTemp("/sys/fs/cgroup/cpu", "idlegrid-test-")
	if err != nil {
		b.Skip("SKIPPED: needs a cgroup v1 with the cpu controller that this user may divide: ", err)
	}
	units := filepath.Join(slice, "units")
	b.Cleanup(func() { // when the executors have ended
		if err := errors.Join(os.Remove(units), os.Remove(slice)); err != nil {
			b.Error(err)
		}
	})
	err = errors.Join(
		os.Mkdir(units, 0o755),
		os.WriteFile(filepath.Join(slice, "cpu.shares"), []byte("51"), 0o644), // of 1024, as CPUWeight=5 is of 100
		os.WriteFile(filepath.Join(units, "cpu.idle"), []byte("1"), 0o644),
	)
	if err == nil && idleSlice {
		err = os.WriteFile(filepath.Join(slice, "cpu.idle"), []byte("1"), 0o644)
	}
	if err != nil {
		b.Fatal(err)
	}
	return units
}

// putChildren puts all children of this process into a cgroup v1.
func putChildren(b *testing.B, group string) {
	b.Helper()
	lists, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(lists) == 0 {
		b.Fatal("no lists of children: ", err)
	}
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			b.Fatal(err)
		}
		for _, pid := range strings.Fields(string(text)) {
			if err := os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(pid), 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// tick is what /proc/stat counts in.
const tick = 10 * time.Millisecond

// processors reads how long all processors together have been idle and in all, in ticks: see proc(5).
func processors(b *testing.B) (idle, all float64) {
	b.Helper()
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	var user, nice, system, wait, irq, soft, steal float64
	if _, err := fmt.Sscanf(line, "cpu %f %f %f %f %f %f %f %f", &user, &nice, &system, &idle, &wait, &irq, &soft, &steal); err != nil {
		b.Fatal(err)
	}
	return idle + wait, user + nice + system + idle + wait + irq + soft + steal
}

// BenchmarkFiguresHarvest tells what share of the CPU time that nobody else takes the executors get, as many as cores,
// while the owner's loop computes for 3 of every 10 ms.
func BenchmarkFiguresHarvest(b *testing.B) {
	eachWay(b, func(b *testing.B, folder string) {
		executors := runtime.NumCPU()
		p := spinners(b, executors, folder)
		work := roundsFor(3 * time.Millisecond)
		for b.Loop() {
			ours := 0 * time.Second
			for _, cpu := range p.CPU() {
				ours -= cpu
			}
			idle, all := processors(b)
			for next, end := time.Now(), time.Now().Add(10*time.Second); next.Before(end); next = next.Add(10 * time.Millisecond) {
				time.Sleep(time.Until(next))
				burn(work)
			}
			idleNow, allNow := processors(b)
			for _, cpu := range p.CPU() {
				ours += cpu
			}
			got := float64(ours / tick)
			b.Logf("%s: %.0f ticks of %.0f were ours, %.0f idle", p.Yielding(), got, allNow-all, idleNow-idle)
			b.ReportMetric(got/(got+idleNow-idle), "share")
			b.ReportMetric(got/(allNow-all), "of-all")
		}
	})
}
