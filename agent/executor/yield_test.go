package executor_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

// yields runs a test with each way to freeze children that there is here.
func yields(t *testing.T, slots int, test func(t *testing.T, p *executor.Pool)) {
	ways := map[string]string{"signals": ""}
	if runtime.GOOS == "linux" {
		ways["cgroup"] = testCgroup(t)
	}
	for name, folder := range ways {
		t.Run(name, func(t *testing.T) {
			if name == "cgroup" && folder == "" {
				t.Skip("SKIPPED: needs a cgroup v2 that this user may divide")
			}
			p := executor.NewPool(executor.Options{
				Slots: slots, Cache: cacheDir(), Cgroup: folder, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
			})
			t.Cleanup(p.Close)
			if got := p.Yielding(); strings.HasPrefix(got, "cgroup2 ") != (folder != "") {
				t.Fatalf("it yields by %s", got)
			}
			test(t, p)
		})
	}
}

// testCgroup makes a cgroup v2 for a test, and returns its folder; empty: that does not work here.
func testCgroup(t testing.TB) string {
	t.Helper()
	for _, mount := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(mount, "cgroup.subtree_control")); err != nil {
			continue
		}
		folder, err := os.MkdirTemp(mount, "idlegrid-test-")
		if err != nil {
			continue
		}
		t.Cleanup(func() {
			if err := os.Remove(folder); err != nil {
				t.Error(err)
			}
		})
		return folder
	}
	return ""
}

// going is a unit that runs, and what is told of it.
type going struct {
	name  string
	unit  *executor.Unit
	end   context.CancelCauseFunc
	ended chan error
	res   executor.Result

	mu     sync.Mutex
	frozen []bool
}

// goes starts a unit.
func goes(t *testing.T, p *executor.Pool, prog *executor.Program, u *executor.Unit) *going {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	g := &going{name: strings.Join(u.Args, " "), unit: u, end: cancel, ended: make(chan error, 1)}
	u.Frozen = func(frozen bool) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.frozen = append(g.frozen, frozen)
	}
	go func() {
		var err error
		g.res, err = p.Run(ctx, prog, u)
		g.ended <- err
	}()
	return g
}

// state returns whether the unit is frozen, as it was told last, and whether it was told anything.
func (g *going) state() (frozen, told bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.frozen) == 0 {
		return false, false
	}
	return g.frozen[len(g.frozen)-1], true
}

func (g *going) runs() bool {
	frozen, told := g.state()
	return told && !frozen
}

// spent returns the CPU time of all children.
func spent(p *executor.Pool) (sum time.Duration) {
	for _, cpu := range p.CPU() {
		sum += cpu
	}
	return sum
}

// mustStandStill fails the test if a child of the pool takes CPU time.
func mustStandStill(t *testing.T, p *executor.Pool) {
	t.Helper()
	before := spent(p)
	time.Sleep(100 * time.Millisecond) // the time in which it would
	if took := spent(p) - before; took > 0 {
		t.Errorf("frozen children took %s of CPU time", took)
	}
}

// mustGoOn waits until children take CPU time.
func mustGoOn(t *testing.T, p *executor.Pool) {
	t.Helper()
	before := spent(p)
	eventually(t, "a child takes CPU time", func() bool { return spent(p) > before })
}

func mustAllow(t *testing.T, p *executor.Pool, n int) {
	t.Helper()
	if err := p.Allow(n); err != nil {
		t.Fatal(err)
	}
}

func (g *going) mustEnd(t *testing.T, want error) {
	t.Helper()
	select {
	case err := <-g.ended:
		if !errors.Is(err, want) {
			t.Errorf("unit %s ended with %v, expected %v", g.name, err, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("unit %s does not end", g.name)
	}
}

var errOwner = errors.New("the owner is back")

// TestP9Allow: what is not allowed stands still when Allow returns, and goes on later where it was; those that began
// first go on first; what begins meanwhile waits.
func TestP9Allow(t *testing.T) {
	yields(t, 2, func(t *testing.T, p *executor.Pool) {
		guest := goGuest(t)
		if err := p.Prepare(t.Context(), guest); err != nil {
			t.Fatal(err)
		}
		first := goes(t, p, guest, unit("spin"))
		eventually(t, "the first runs", first.runs)
		second := goes(t, p, guest, unit("spin"))
		eventually(t, "the second runs", second.runs)
		mustGoOn(t, p)
		for range 3 {
			mustAllow(t, p, 0)
			mustStandStill(t, p)
			mustAllow(t, p, 0)
			mustAllow(t, p, 2)
			mustGoOn(t, p)
		}
		mustAllow(t, p, 1)
		if a, b := first.runs(), second.runs(); !a || b {
			t.Errorf("of one that is allowed: the first runs %v, the second %v", a, b)
		}
		mustGoOn(t, p)
		first.end(errOwner)
		first.mustEnd(t, errOwner)
		eventually(t, "the second goes on", second.runs)
		third := goes(t, p, guest, unit("spin"))
		eventually(t, "the third waits", func() bool { frozen, told := third.state(); return told && frozen })
		mustAllow(t, p, 0)
		mustStandStill(t, p)
		second.end(errOwner) // a frozen one
		second.mustEnd(t, errOwner)
		third.end(errOwner) // one that waits
		third.mustEnd(t, errOwner)
		if err := p.Prepare(withTimeout(t, 50*time.Millisecond), program(t, module{pages: 77}.bytes())); err == nil {
			t.Error("a program was compiled while nothing was allowed")
		}
		fourth := goes(t, p, guest, unit("echo", "x"))
		eventually(t, "the fourth waits", func() bool { frozen, told := fourth.state(); return told && frozen })
		mustAllow(t, p, 2)
		fourth.mustEnd(t, nil)
	})
}

// TestCompileGetsItsTurn: with one place of two, another program is compiled after the unit that has it, though units of
// this one follow each other without a pause. So an agent comes to other jobs.
func TestCompileGetsItsTurn(t *testing.T) {
	yields(t, 2, func(t *testing.T, p *executor.Pool) {
		guest := goGuest(t)
		if err := p.Prepare(t.Context(), guest); err != nil {
			t.Fatal(err)
		}
		mustAllow(t, p, 1)
		first := goes(t, p, guest, unit("spin"))
		eventually(t, "the first runs", first.runs)
		other := program(t, module{pages: 1000 + rand.Uint64N(9000)}.bytes()) // that no other test compiled
		ctx, compiled := withTimeout(t, time.Minute), make(chan error, 1)
		go func() { compiled <- p.Prepare(ctx, other) }()
		select {
		case err := <-compiled:
			t.Fatalf("it was compiled beside the unit: %v", err)
		case <-time.After(time.Second):
		}
		first.end(errOwner)
		first.mustEnd(t, errOwner)
		for n := 0; ; n++ {
			select {
			case err := <-compiled:
				if err != nil {
					t.Error(err)
				}
				t.Logf("after %d units", n)
				return
			default:
			}
			if res, err := p.Run(t.Context(), guest, unit("echo", "x")); err != nil || res.Failure.Failed() {
				t.Fatal(res.Failure, err)
			}
		}
	})
}

func withTimeout(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// TestFrozenTimeDoesNotCount: for the timeout, for checkpoints, and in the result.
func TestFrozenTimeDoesNotCount(t *testing.T) {
	yields(t, 1, func(t *testing.T, p *executor.Pool) {
		const timeout = 2 * time.Second
		u := unit("spin")
		u.Timeout = timeout
		if err := p.Prepare(t.Context(), goGuest(t)); err != nil {
			t.Fatal(err)
		}
		g := goes(t, p, goGuest(t), u)
		eventually(t, "it runs", g.runs)
		mustGoOn(t, p)
		mustAllow(t, p, 0)
		time.Sleep(timeout + 500*time.Millisecond) // more than the timeout
		select {
		case err := <-g.ended:
			t.Fatalf("it ended while it was frozen: %v, %v", g.res.Failure, err)
		default:
		}
		mustAllow(t, p, 1)
		g.mustEnd(t, nil)
		if g.res.Failure.Kind != jobs.FailureTimeout || g.res.Times.Wall > timeout+500*time.Millisecond {
			t.Errorf("%v, after %s of its time", g.res.Failure, g.res.Times.Wall)
		}
	})
}

// TestUsed: the CPU time of children counts while they live and after.
func TestUsed(t *testing.T) {
	p := newPool(t, 1)
	u := unit("spin")
	u.Timeout = time.Second
	if err := p.Prepare(t.Context(), goGuest(t)); err != nil {
		t.Fatal(err)
	}
	before := p.Used() // of compiling
	res, err := p.Run(t.Context(), goGuest(t), u)
	if err != nil || res.Failure.Kind != jobs.FailureTimeout {
		t.Fatal(res.Failure, err)
	}
	used := p.Used() - before
	if used <= 0 || used < res.Times.CPU || used > res.Times.CPU+2*time.Second {
		t.Errorf("children used %s, the unit %s", used, res.Times.CPU)
	}
	p.Close()
	if after := p.Used() - before; after < used {
		t.Errorf("%s after their end, %s before", after, used)
	}
}

// TestOverhead: what children use is either of units, as results say, those of ended units among them, or overhead, as
// compiling is.
func TestOverhead(t *testing.T) {
	p := newPool(t, 1)
	before := p.Overhead()
	if err := p.Prepare(t.Context(), program(t, module{pages: 78}.bytes())); err != nil {
		t.Fatal(err)
	}
	if p.Overhead() <= before {
		t.Error("compiling a program took nothing")
	}
	if err := p.Prepare(t.Context(), goGuest(t)); err != nil {
		t.Fatal(err)
	}
	g := goes(t, p, goGuest(t), unit("spin"))
	eventually(t, "it has used more CPU time than its child takes to start", func() bool { return spent(p) > 1500*time.Millisecond })
	g.end(errOwner)
	g.mustEnd(t, errOwner)
	short, err := p.Run(t.Context(), goGuest(t), unit("echo"))
	if err != nil || short.Failure.Failed() {
		t.Fatal(short.Failure, err)
	}
	if g.res.Times.CPU < 200*time.Millisecond || len(g.res.Outcome.Stdout) > 0 {
		t.Errorf("a unit that was ended says %+v", g.res)
	}
	p.Close()
	units := g.res.Times.CPU + short.Times.CPU
	if rest := p.Used() - p.Overhead() - units; rest.Abs() > 100*time.Millisecond {
		t.Errorf("%s in all less %s of overhead, units took %s", p.Used(), p.Overhead(), units)
	}
}

// TestNoCheckpointOfTheFrozen: the interval stands still, and who asks for one at once gets it when the unit goes on.
func TestNoCheckpointOfTheFrozen(t *testing.T) {
	yields(t, 1, func(t *testing.T, p *executor.Pool) {
		made := make(chan executor.Checkpoint, 100)
		now := make(chan struct{}, 1)
		u := &executor.Unit{Interval: 200 * time.Millisecond, Now: now, Folder: t.TempDir(), Save: func(c executor.Checkpoint) { made <- c }}
		g := goes(t, p, dirtying(t, 16), u)
		<-made
		mustAllow(t, p, 0)
		for len(made) > 0 { // one that was on its way
			<-made
		}
		now <- struct{}{}
		time.Sleep(time.Second) // five intervals
		if n := len(made); n > 1 {
			t.Errorf("%d checkpoints came of a frozen unit", n)
		}
		mustAllow(t, p, 1)
		before := time.Now()
		<-made
		<-made
		t.Logf("two came %s after it went on", time.Since(before))
		g.end(errOwner)
		g.mustEnd(t, errOwner)
	})
}

// TestDropFrozen: the largest of the frozen go first, and those without a unit before.
func TestDropFrozen(t *testing.T) {
	yields(t, 2, func(t *testing.T, p *executor.Pool) {
		// Of each of its pages of 64 KiB the guest writes to one of the system's.
		const has = 48 << 20
		small, large := goes(t, p, dirtying(t, 16), &executor.Unit{}), goes(t, p, dirtying(t, has>>12), &executor.Unit{})
		eventually(t, "both have their memory", func() bool { return small.runs() && large.runs() && slices.Max(p.Memory()) > has })
		if n := p.FrozenMemory(); n > 0 {
			t.Errorf("%d bytes of nothing frozen", n)
		}
		mustAllow(t, p, 0)
		all := p.FrozenMemory()
		if all < has || all > has+256<<20 {
			t.Errorf("the frozen have %d bytes", all)
		}
		p.DropFrozen(all)
		p.DropFrozen(all - 1)
		large.mustEnd(t, executor.ErrDropped)
		if left := p.FrozenMemory(); left == 0 || left > all-has {
			t.Errorf("of %d bytes %d are left", all, left)
		}
		p.DropFrozen(0)
		small.mustEnd(t, executor.ErrDropped)
		mustAllow(t, p, 2)
		succeed(t, p, goGuest(t), unit("echo"))
		mustAllow(t, p, 0)
		if p.FrozenMemory() == 0 {
			t.Error("an idle child has no memory")
		}
		p.DropFrozen(0)
		eventually(t, "the idle child is gone", func() bool { return !p.Usable() })
		mustAllow(t, p, 2)
		succeed(t, p, goGuest(t), unit("echo"))
	})
}

// TestCloseFrozen: a pool is closed with frozen children, and nothing is left.
func TestCloseFrozen(t *testing.T) {
	yields(t, 2, func(t *testing.T, p *executor.Pool) {
		succeed(t, p, goGuest(t), unit("echo"))
		g := goes(t, p, goGuest(t), unit("spin"))
		eventually(t, "it runs", g.runs)
		mustAllow(t, p, 0)
		p.Close()
		if err := <-g.ended; err == nil {
			t.Error("the unit ended well")
		}
		if n := p.Children(); n > 0 {
			t.Errorf("%d children are left", n)
		}
	})
}

// TestAllowFlood: Allow from everywhere, while units start and end, leaves nothing behind.
func TestAllowFlood(t *testing.T) {
	yields(t, 2, func(t *testing.T, p *executor.Pool) {
		noop := program(t, module{pages: 1}.bytes())
		var all sync.WaitGroup
		for i := range 3 {
			all.Go(func() {
				for n := range 40 {
					if err := p.Allow((n + i) % 3); err != nil {
						t.Error(err)
					}
				}
			})
			all.Go(func() {
				for range 20 {
					if r, err := p.Run(t.Context(), noop, unit()); err != nil || r.Failure.Failed() {
						t.Error(r.Failure, err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { all.Wait(); close(done) }()
		for over := false; !over; {
			select {
			case <-done:
				over = true
			default:
				mustAllow(t, p, 2) // else the units would wait for ever once the others are through
			}
		}
		if n := p.Free(); n != 2 {
			t.Errorf("%d slots are free", n)
		}
		if n := p.Children(); n > 2 {
			t.Errorf("%d children are there", n)
		}
	})
}
