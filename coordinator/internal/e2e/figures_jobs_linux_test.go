package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// A benchmark asks whether all is done roughly, which costs next to nothing, until nine tenths are, and then finely.
const (
	roughly = 100 * time.Millisecond
	finely  = 5 * time.Millisecond
)

// measured is a job of a benchmark.
type measured struct {
	name    string
	program []byte
	args    string // as YAML
	units   int
	bundle  int
}

// write writes the job's files and returns the path of its job.yaml.
func (g *grid) write(m measured) string {
	g.t.Helper()
	dir := g.path(m.name)
	yaml := fmt.Sprintf("name: %s\nprogram: program.wasm\nargs: %s\nunits: {count: %d}\nbundle: %d\n", m.name, m.args, m.units, max(1, m.bundle))
	err := errors.Join(
		os.MkdirAll(dir, 0o700),
		os.WriteFile(filepath.Join(dir, "program.wasm"), m.program, 0o600),
		os.WriteFile(filepath.Join(dir, "job.yaml"), []byte(yaml), 0o600),
	)
	if err != nil {
		g.t.Fatal(err)
	}
	return filepath.Join(dir, "job.yaml")
}

// ledgers are the agents' stewards on connections that stay open.
type ledgers struct {
	g       *grid
	clients []gridv1.StewardClient
}

func (g *grid) ledgers() *ledgers {
	g.t.Helper()
	id, err := g.login()
	if err != nil {
		g.t.Fatal(err)
	}
	dialer := dialer(id)
	g.t.Cleanup(dialer.Close)
	l := &ledgers{g: g}
	for _, a := range g.agents {
		conn, err := dialer.Conn(a.addresses().Grid, jobs.KeyID{})
		if err != nil {
			g.t.Fatal(err)
		}
		l.clients = append(l.clients, gridv1.NewStewardClient(conn))
	}
	return l
}

// run submits a job and returns its ID, and how long it took from the start of gridctl submit until every agent of the
// grid has every unit's report on disk. A grid of two agents acknowledges a report at exactly that moment.
func (l *ledgers) run(m measured) (jobs.JobID, time.Duration) {
	l.g.t.Helper()
	job := l.g.write(m)
	ticker := time.NewTicker(roughly)
	defer ticker.Stop()
	start := time.Now()
	id := l.g.submit(job)
	for _, c := range l.clients {
		for done := l.accepted(c, id, m); done < m.units; done = l.accepted(c, id, m) {
			if done >= m.units*9/10 {
				ticker.Reset(finely)
			}
			select {
			case <-l.g.ctx.Done():
				l.g.t.Fatalf("the benchmark's time is up, waiting for %s", m.name)
			case <-ticker.C:
			}
		}
	}
	return id, time.Since(start)
}

// accepted returns how many units of a job a steward knows to be accepted.
func (l *ledgers) accepted(c gridv1.StewardClient, id jobs.JobID, m measured) (n int) {
	l.g.t.Helper()
	for shard := range uint32((m.units/max(1, m.bundle) + manifest.ShardBundles - 1) / manifest.ShardBundles) {
		s, err := c.Summary(l.g.ctx, &gridv1.SummaryRequest{Shard: records.ShardToProto(jobs.ShardID{Job: id, Shard: shard})})
		if err != nil && jobs.KindOf(err) != jobs.NotFound { // it learns of the job in a moment
			l.g.t.Fatal(err)
		}
		n += int(s.GetAccepted())
		if s.GetFailed() > 0 {
			l.g.t.Fatalf("units of %s failed", m.name)
		}
	}
	return n
}

// noop measures how many units a second go through a grid of two one-slot agents.
func (f *figures) noop(b *testing.B) {
	const what = "no-op units/s, 20,000 one-unit bundles, submit → last acknowledged"
	g := benchGrid(b, 2, "--cores", "1")
	l := g.ledgers()
	kinds := []struct {
		what, reach string
		measured
	}{
		{what, "5,000", measured{name: "noop", program: counter(1), args: `["${unit}", none]`, units: 20000}},
		{"the same in bundles of 100", "", measured{name: "bundled", program: counter(1), args: `["${unit}", none]`, units: 20000, bundle: 100}},
		{"the same, a Go no-op, 4,000 units", "", measured{name: "gonoop", program: goNoop(b), args: "[]", units: 4000}},
	}
	if _, err := exec.LookPath("clang"); err == nil {
		c := kinds[0]
		c.what, c.reach, c.name, c.program, c.args = "the same, C with printf", "", "cnoop", f.loops(b, c.what).wasm, `[echo, "${unit}"]`
		kinds = append(kinds, c)
	}
	rates := make([][]float64, len(kinds))
	for round := range rounds {
		for i, k := range kinds {
			m := k.measured
			m.name = fmt.Sprintf("%s-%d", m.name, round)
			id, took := l.run(m)
			rates[i] = append(rates[i], float64(m.units)/took.Seconds())
			if i == 0 {
				g.compareRandom(id, m.units, 200)
			}
		}
	}
	for i, k := range kinds {
		rate := middle(rates[i])
		f.add(k.what, k.reach, "%.0f", rate)
		b.ReportMetric(rate, k.name+"-units/s")
	}
}

// compareRandom fetches the outcomes of random units of a job of counter units and looks whether they are right.
func (g *grid) compareRandom(id jobs.JobID, units, n int) {
	g.t.Helper()
	login, err := g.login()
	if err != nil {
		g.t.Fatal(err)
	}
	dialer := dialer(login)
	defer dialer.Close()
	p := packs{store: blobs.NewMemory(0), from: g.members(g.agents[0])}
	p.client = blobs.NewClient(p.store, dialer, login.Key)
	reported := map[uint64]*record.Report{}
	for shard := range uint32((units + manifest.ShardBundles - 1) / manifest.ShardBundles) {
		for _, r := range decoded(g.t, g.offers(g.agents[0], jobs.ShardID{Job: id, Shard: shard})) {
			for _, bundle := range r.Bundles {
				for _, u := range bundle.Units {
					reported[u.Unit] = r
				}
			}
		}
	}
	for range n {
		unit := rand.Uint64N(uint64(units))
		want := record.Outcome{Stdout: fmt.Appendf(nil, "%d\x00none\x00", unit)}
		r := reported[unit]
		if r == nil {
			g.t.Fatalf("unit %d was not reported", unit)
		}
		pack, err := p.get(g.ctx, r)
		if err != nil {
			g.t.Fatal(err)
		}
		if _, err := pack.Outcome(unit, want.Digest()); err != nil {
			g.t.Fatalf("the outcome of unit %d is not what it should be: %v", unit, err)
		}
	}
}

// packs fetches packs.
type packs struct {
	client *blobs.Client
	store  blobs.Store
	from   []peer.Member
}

func (p packs) get(ctx context.Context, r *record.Report) (*record.Pack, error) {
	if err := p.client.Fetch(ctx, blobs.For(r.Job), r.Pack, p.from); err != nil {
		return nil, err
	}
	file, _, err := p.store.Open(r.Pack.Digest)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return record.DecodePack(text)
}

const (
	unitRounds = "24000000" // of floats: about 100 ms
	manyUnits  = 200
	fewUnits   = 9
)

// efficiency compares how much of two cores' time a grid turns into work with what xargs does with the same program
// natively. A unit's ideal is its time when nothing else runs, of its own kind.
func (f *figures) efficiency(b *testing.B) {
	const what = "efficiency, 200 units of about 100 ms on two one-slot agents"
	const args = "[float, " + `"` + unitRounds + `"]`
	loops := f.loops(b, what)
	g := benchGrid(b, 2, "--cores", "1")
	l := g.ledgers()
	var grid, xargs []float64
	var alones []time.Duration
	for round := range rounds {
		m := measured{name: fmt.Sprintf("work-%d", round), program: loops.wasm, args: args, units: manyUnits}
		alone := g.alone(measured{name: fmt.Sprintf("alone-%d", round), program: loops.wasm, args: args, units: fewUnits})
		_, took := l.run(m)
		grid = append(grid, efficiency(alone.wall, took))
		alones = append(alones, alone.wall)
		xargs = append(xargs, efficiency(nativeAlone(b, loops.native, "float", unitRounds).wall, byXargs(b, loops.native)))
	}
	f.add(what, fmt.Sprintf("%.3f (xargs − 0.02)", middle(xargs)-0.02), "%.3f", middle(grid))
	f.add(fmt.Sprintf("the same natively by `xargs -P2`; one unit takes %d ms", middle(alones).Milliseconds()), "", "%.3f", middle(xargs))
	b.ReportMetric(middle(grid), "grid-efficiency")
	b.ReportMetric(middle(xargs), "xargs-efficiency")
}

func efficiency(alone, took time.Duration) float64 {
	return manyUnits * alone.Seconds() / 2 / took.Seconds()
}

// times are medians of a few runs, one after the other with nothing beside.
type times struct{ wall, cpu time.Duration }

// alone runs a job's units here, without a grid.
func (g *grid) alone(m measured) times {
	g.t.Helper()
	g.must("gridctl", "run", g.write(m), "--cores", "1", "-d", m.name+"-results")
	var wall, cpu []time.Duration
	for n := range m.units {
		var meta struct {
			Wall float64 `json:"wall_seconds"`
			CPU  float64 `json:"cpu_seconds"`
		}
		if err := json.Unmarshal([]byte(g.read(m.name+"-results", "units", fmt.Sprintf("%06d", n), "meta.json")), &meta); err != nil {
			g.t.Fatal(err)
		}
		wall = append(wall, time.Duration(meta.Wall*float64(time.Second)))
		cpu = append(cpu, time.Duration(meta.CPU*float64(time.Second)))
	}
	return times{middle(wall), middle(cpu)}
}

// nativeAlone runs the same natively.
func nativeAlone(b *testing.B, program, kind, n string) times {
	b.Helper()
	var wall, cpu []time.Duration
	for range fewUnits {
		cmd := exec.Command(program, kind, n)
		start := time.Now()
		command(b, cmd)
		wall = append(wall, time.Since(start))
		cpu = append(cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	return times{middle(wall), middle(cpu)}
}

// byXargs runs all units natively, two at a time, and returns how long that took.
func byXargs(b *testing.B, program string) time.Duration {
	b.Helper()
	cmd := exec.Command("xargs", "-P2", "-n1", program, "float", unitRounds) // the unit's number is one argument more
	var numbers strings.Builder
	for n := range manyUnits {
		fmt.Fprintln(&numbers, n)
	}
	cmd.Stdin = strings.NewReader(numbers.String())
	start := time.Now()
	command(b, cmd)
	return time.Since(start)
}
