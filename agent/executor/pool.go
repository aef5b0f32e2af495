package executor

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/executor/internal/host"
	"idlegrid/jobs"
)

// Options say how a Pool works.
type Options struct {
	Slots int    // how many units run at once; at least 1
	Cache string // folder of compiled programs, for this pool and others; made if missing
	// Background keeps the children at idle priority, CPU and disk, for work that must not be noticed.
	// Otherwise they step back behind normal work only.
	Background bool
	// Cgroup is the folder of a cgroup v2 that is ours alone, for children to be frozen in. Empty: the one that this
	// process was given, if it was and with Background. On Linux; without one signals freeze them.
	Cgroup string
	Log    *slog.Logger // nil: none
}

// errClosed is the cause of what ends because the pool was closed.
var errClosed = jobs.Errorf(jobs.Unavailable, "the executors are shut down")

// Pool runs units in up to Slots child processes. It is safe for concurrent use.
type Pool struct {
	options Options
	cache   *cache
	group   *host.Group
	slots   chan struct{} // a token for each slot in use
	ctx     context.Context
	cancel  context.CancelCauseFunc
	warned  sync.Once
	starts  sync.Mutex // held while a child starts, by who does not hold mu

	mu       sync.Mutex // guards everything below
	closed   bool
	active   sync.WaitGroup        // calls of Prepare and Run; none is added once closed
	children map[*process]struct{} // all of them
	busy     []*process            // those that load, compile or run, in the order in which they began
	idle     []*process            // loaded children that run nothing, the newest last; at most one for each free slot
	allowed  int                   // how many of them may go on; as many as there are slots, or more: all
	changed  chan struct{}         // closed when one more may go on; nil: nobody waits for that
	spent    time.Duration         // CPU time of children that have ended
	besides  time.Duration         // of that, what was no unit's
}

// NewPool returns a Pool. It starts no process yet.
func NewPool(o Options) *Pool {
	o.Slots = max(o.Slots, 1)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	p := &Pool{
		options: o, slots: make(chan struct{}, o.Slots), ctx: ctx, cancel: cancel, children: map[*process]struct{}{}, allowed: o.Slots,
	}
	p.group = host.OpenGroup(o.Cgroup, p.priority())
	start := func(ctx context.Context) (*process, error) { return p.begin(ctx, nil, nil) }
	p.cache = &cache{dir: o.Cache, start: start, end: p.end, turn: make(chan struct{}, 1)}
	return p
}

func (p *Pool) priority() host.Priority {
	if p.options.Background {
		return host.Idle
	}
	return host.Low
}

// Prepare compiles the program unless that was done before on this machine. Without it the first Run does.
// The error is an *UnusableError if the program is at fault.
func (p *Pool) Prepare(ctx context.Context, prog *Program) error {
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	_, err = p.cache.compiled(ctx, prog)
	return err
}

// Run runs a unit as soon as a slot is free. An error is a fault of this machine, or the cause of the
// context's end; all that the unit did wrong is in the result.
func (p *Pool) Run(ctx context.Context, prog *Program, u *Unit) (Result, error) {
	ctx, leave, err := p.enter(ctx)
	if err != nil {
		return Result{}, err
	}
	defer leave()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return Result{}, context.Cause(ctx)
	}
	c, err := p.loaded(ctx, prog, u.Frozen)
	if unusable := (*UnusableError)(nil); errors.As(err, &unusable) {
		return Result{Failure: unusable.Failure}, nil
	} else if err != nil {
		return Result{}, err
	}
	result, err := c.run(ctx, u, p.options.Log)
	p.put(c)
	if result.Failure.Kind == jobs.FailureCrash {
		p.options.Log.Warn("executor died", slog.String("why", result.Failure.Text))
	}
	return result, err
}

// Close ends all units and children, and returns when they have ended. Later calls of Run and Prepare, and
// those under way, return an error. Closing twice is harmless.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cancel(errClosed)
	p.active.Wait()
	for c := p.take(nil); c != nil; c = p.take(nil) {
		p.end(c)
	}
	if err := p.group.Close(); err != nil {
		p.options.Log.Info("cannot remove the executors' cgroup", slog.Any("error", err))
	}
}

// enter makes a call known to Close, which cancels its context and waits for it to leave.
func (p *Pool) enter(ctx context.Context) (context.Context, func(), error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed
	}
	p.active.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.ctx, func() { cancel(errClosed) })
	return ctx, func() {
		stop()
		cancel(nil)
		p.active.Done()
	}, nil
}

// loaded returns a busy child that can run units of the program. The caller holds a slot. What tell is told is in
// begin.
func (p *Pool) loaded(ctx context.Context, prog *Program, tell func(bool)) (*process, error) {
	if c := p.take(prog); c != nil {
		if c.program.same(prog) && c.usable() {
			return p.begin(ctx, c, tell)
		}
		p.end(c)
	}
	dir, err := p.cache.compiled(ctx, prog)
	if err != nil {
		return nil, err
	}
	c, err := p.begin(ctx, nil, tell)
	if err != nil {
		return nil, err
	}
	if err := c.load(ctx, prog, loadOptions{cache: dir}); err != nil {
		p.end(c)
		return nil, err
	}
	if c.warning != "" {
		p.warned.Do(func() { p.options.Log.Warn("executor priority", slog.String("failed", c.warning)) })
	}
	return c, nil
}

// take returns an idle child: one that is loaded with the program; else, if all slots that are not running
// have one, the oldest, to be ended; else nil. With a nil program it returns any.
func (p *Pool) take(prog *Program) *process {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.idle, func(c *process) bool { return prog == nil || c.program.same(prog) })
	if i < 0 {
		if len(p.idle) == 0 || len(p.idle)+len(p.slots) <= p.options.Slots {
			return nil
		}
		i = 0
	}
	c := p.idle[i]
	p.idle = slices.Delete(p.idle, i, i+1)
	return c
}

// put keeps a child for the next unit, if it lives.
func (p *Pool) put(c *process) {
	if !c.usable() {
		p.end(c)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest(c)
	p.idle = append(p.idle, c)
}
