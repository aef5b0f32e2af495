package executor

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"idlegrid/agent/executor/internal/host"
)

// ErrDropped is the error of units that were ended because frozen ones had too much memory.
var ErrDropped = errors.New("frozen units have too much memory")

// Allow lets at most n children go on from now on, whatever they do, and freezes the others. Those that have been
// busy longest go on. With n of Options.Slots or more everything may. It returns when the last one that had to stands
// still. Until more are allowed, no child is started and no idle one set to work beyond those n: Run and Prepare wait.
//
// While a unit is frozen, its Timeout and Interval do not run, nor is that time in its Result; and it is never thawed
// for a checkpoint. Its context ends it as ever.
//
// A child that cannot be frozen is killed, and the error says why: the owner comes first. The error of its unit's Run
// is this machine's fault.
func (p *Pool) Allow(n int) error {
	p.mu.Lock()
	p.allowed = max(n, 0)
	p.apply()
	p.mu.Unlock()
	var errs []error
	for _, c := range p.held() {
		errs = append(errs, c.standStill())
	}
	return errors.Join(errs...)
}

// held returns the children that may not go on. One that is just being started is frozen before that ends.
func (p *Pool) held() (out []*process) {
	p.starts.Lock()
	defer p.starts.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.children {
		if !p.mayGoOn(c) {
			out = append(out, c)
		}
	}
	return out
}

// Yielding says how children are frozen and what keeps them back, such as "cgroup2 freeze, cpu.idle".
func (p *Pool) Yielding() string { return p.group.String() }

// FrozenMemory returns how many bytes of memory the frozen children have, as far as the system tells.
func (p *Pool) FrozenMemory() uint64 {
	sum := uint64(0)
	for _, f := range p.frozen() {
		sum += f.memory
	}
	return sum
}

// Used returns the CPU time that this process and all children have had so far, as far as the system tells of those that
// live.
func (p *Pool) Used() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := p.spent
	if own, ok := host.CPUOf(os.Getpid()); ok {
		sum += own
	}
	for c := range p.children {
		if cpu, ok := host.CPUOf(c.cmd.Process.Pid); ok {
			sum += cpu
		}
	}
	return sum
}

// Overhead returns the CPU time that this process and its children have had so far for all that is no unit's: that of this
// process, and of loading and compiling programs.
func (p *Pool) Overhead() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := host.CPUTime() + p.besides
	for c := range p.children {
		sum += time.Duration(c.besides.Load())
	}
	return sum
}

// DropFrozen ends frozen children until those that are left have at most so many bytes of memory: first those without
// a unit, then the largest. The error of their units' Run is ErrDropped.
func (p *Pool) DropFrozen(most uint64) {
	frozen := p.frozen()
	sum := uint64(0)
	for _, f := range frozen {
		sum += f.memory
	}
	for _, f := range frozen {
		if sum <= most {
			return
		}
		f.child.kill(ErrDropped)
		sum -= f.memory
	}
}

// frozenChild is a child that is frozen, and what memory it has.
type frozenChild struct {
	child  *process
	idle   bool
	memory uint64
}

// frozen returns the frozen children in the order in which they are dropped.
func (p *Pool) frozen() []frozenChild {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []frozenChild
	for c := range p.children {
		if memory, ok := host.MemoryOf(c.cmd.Process.Pid); ok && c.isFrozen() {
			out = append(out, frozenChild{c, !slices.Contains(p.busy, c), memory})
		}
	}
	slices.SortFunc(out, func(a, b frozenChild) int {
		if a.idle != b.idle {
			if a.idle {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.memory, a.memory)
	})
	return out
}

// apply freezes and thaws children as they are allowed to go on; at no time do more than are allowed. The caller holds
// p.mu.
func (p *Pool) apply() {
	for c := range p.children {
		if !p.mayGoOn(c) {
			c.freeze()
		}
	}
	for c := range p.children {
		if p.mayGoOn(c) {
			c.thaw()
		}
	}
	if p.changed != nil && p.hasRoom() {
		close(p.changed)
		p.changed = nil
	}
}

func (p *Pool) mayGoOn(c *process) bool {
	i := slices.Index(p.busy, c)
	return p.allowed >= p.options.Slots || i >= 0 && i < p.allowed
}

// hasRoom reports whether one more child may go on. The caller holds p.mu.
func (p *Pool) hasRoom() bool { return p.allowed >= p.options.Slots || len(p.busy) < p.allowed }

// begin makes a child busy as soon as one more may go on: the given idle one, else one that it starts. It says by tell
// that it waits, and that the child is frozen or goes on, now and later.
func (p *Pool) begin(ctx context.Context, idle *process, tell func(bool)) (*process, error) {
	if tell == nil {
		tell = func(bool) {}
	}
	for {
		try := p.starting
		if idle != nil {
			try = func(tell func(bool)) (*process, <-chan struct{}, error) { return p.reusing(idle, tell) }
		}
		c, room, err := try(tell)
		if room == nil {
			return c, err
		}
		tell(true)
		select {
		case <-room:
		case <-ctx.Done():
			if idle != nil {
				p.put(idle)
			}
			return nil, context.Cause(ctx)
		}
	}
}

// starting starts a busy child, or returns what is closed when it may be time to try again.
func (p *Pool) starting(tell func(bool)) (*process, <-chan struct{}, error) {
	p.starts.Lock()
	defer p.starts.Unlock()
	if room := p.awaitRoom(); room != nil {
		return nil, room, nil
	}
	c, err := startProcess(p.group, p.priority())
	if err != nil {
		return nil, nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.children[c] = struct{}{}
	p.engage(c, tell) // frozen, if Allow came in between: it waits for this
	return c, nil, nil
}

// reusing makes an idle child busy, or returns what is closed when it may be time to try again.
func (p *Pool) reusing(c *process, tell func(bool)) (*process, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.hasRoom() {
		return nil, p.roomComes(), nil
	}
	p.engage(c, tell)
	return c, nil, nil
}

func (p *Pool) awaitRoom() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hasRoom() {
		return nil
	}
	return p.roomComes()
}

// roomComes returns what is closed when there is room. The caller holds p.mu.
func (p *Pool) roomComes() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// engage makes a child busy. The caller holds p.mu.
func (p *Pool) engage(c *process, tell func(bool)) {
	p.busy = append(p.busy, c)
	if p.mayGoOn(c) {
		c.thaw()
	} else {
		c.freeze()
	}
	c.attend(tell)
}

// rest says that a child is not busy any more. The caller holds p.mu.
func (p *Pool) rest(c *process) {
	c.attend(nil)
	if i := slices.Index(p.busy, c); i >= 0 {
		p.busy = slices.Delete(p.busy, i, i+1)
	}
	if p.allowed < p.options.Slots {
		p.apply()
	}
}

// end ends a child and forgets it.
func (p *Pool) end(c *process) {
	c.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ours := p.children[c]; ours {
		p.spent += c.total()
		p.besides += max(0, c.total()-c.units)
	}
	delete(p.children, c)
	p.rest(c)
}
