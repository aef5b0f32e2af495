package executor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"idlegrid/agent/executor/internal/host"
	"idlegrid/agent/executor/internal/wire"
)

// endWait bounds how long the end of a child may take after its death: what it said is still read.
const endWait = 2 * time.Second

// process is one child, as its parent sees it. One goroutine at a time uses it; only kill may be called
// from anywhere.
type process struct {
	cmd     *exec.Cmd
	group   *host.Group
	seat    *host.Seat // in the group
	out     *wire.Writer
	in      *wire.Reader
	pipes   []*os.File // our ends
	said    *head      // standard error of the child itself
	ended   chan struct{}
	born    time.Time
	program *Program
	warning string        // what it could not do to step back
	units   time.Duration // its CPU time that was units', as results have it
	besides atomic.Int64  // other CPU time that it told of, in nanoseconds: of loading and compiling

	mu     sync.Mutex          // guards everything below
	dead   error               // why it was killed; nil: it was not
	left   bool                // it has ended, and its seat is not to be used any more
	froze  time.Time           // when it was frozen; zero: it is not
	stood  time.Duration       // how long it was frozen before
	timers map[*timer]struct{} // that stand still while it is frozen
	tell   func(frozen bool)   // nil: nobody is told
}

// startProcess starts this program as an executor child. No guest runs in it yet.
func startProcess(group *host.Group, priority host.Priority) (*process, error) {
	if os.Getenv(marker) != "" {
		// Without this a program that forgot Main would start itself without end.
		return nil, errors.New("start an executor: this process is one, and did not call executor.Main first")
	}
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program to start an executor: %w", err)
	}
	mark := markerLow
	if priority == host.Idle {
		mark = markerIdle
	}
	p := &process{
		cmd: exec.Command(self), group: group, said: new(head), born: time.Now(), ended: make(chan struct{}),
		timers: map[*timer]struct{}{},
	}
	p.cmd.Args = []string{"idlegrid-executor"}
	p.cmd.Env = []string{marker + "=" + mark} // and nothing that this process knows
	p.cmd.Stderr = p.said
	p.cmd.SysProcAttr = host.Attributes()
	p.cmd.WaitDelay = endWait
	if err := p.start(); err != nil {
		return nil, fmt.Errorf("start an executor: %w", err)
	}
	return p, nil
}

// start makes the pipes, starts the child and closes the child's ends here.
func (p *process) start() error {
	stdinChild, stdin, err := os.Pipe()
	if err != nil {
		return err
	}
	stdout, stdoutChild, err := os.Pipe()
	if err != nil {
		return errors.Join(err, stdinChild.Close(), stdin.Close())
	}
	p.pipes = []*os.File{stdin, stdout}
	p.out, p.in = wire.NewWriter(stdin), wire.NewReader(stdout, wire.MaxReply)
	p.cmd.Stdin, p.cmd.Stdout = stdinChild, stdoutChild
	started := make(chan error)
	go p.live(started)
	err = errors.Join(<-started, stdinChild.Close(), stdoutChild.Close())
	if err != nil {
		p.kill(err)
		<-p.ended
		return errors.Join(err, stdin.Close(), stdout.Close())
	}
	return nil
}

// live starts the child and waits for its end. It stays on one thread, for Linux kills the child when the
// thread that started it ends.
func (p *process) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.ended)
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	var err error
	p.seat, err = p.group.Join(p.cmd.Process)
	started <- err
	// How it ended stands in ProcessState, whatever Wait says of it.
	_ = p.cmd.Wait()
	if err == nil {
		p.leave()
	}
}

// leave gives up the place of a child that has ended.
func (p *process) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.seat.Leave() // what is left of it is in nobody's way, and the next pool removes it
	p.left = true
}

// kill kills the child, for a reason. Only the first reason counts.
func (p *process) kill(why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killNow(why)
}

// killNow is kill for who holds p.mu. A frozen child dies as any other.
func (p *process) killNow(why error) {
	if p.dead == nil {
		p.dead = why
	}
	if p.cmd.Process != nil {
		_ = p.cmd.Process.Kill() // fails if it has ended already
	}
}

// usable reports whether the child lives, as far as anybody knows.
func (p *process) usable() bool {
	select {
	case <-p.ended:
		return false
	default:
		return p.reason() == nil
	}
}

func (p *process) reason() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// errEnded is why end kills.
var errEnded = errors.New("no longer needed")

// end kills the child and returns when nothing is left of it. Calling it twice is harmless.
func (p *process) end() {
	p.kill(errEnded)
	<-p.ended
	for _, f := range p.pipes {
		_ = f.Close() // nobody reads or writes them any more
	}
}

// limited kills the child when ctx ends or it has gone on for the timeout, if there is one. The returned function
// ends that. A kill that is just under way then is certain afterwards, so that nobody uses the child again.
func (p *process) limited(ctx context.Context, timeout time.Duration) (release func()) {
	stop := context.AfterFunc(ctx, func() { p.kill(context.Cause(ctx)) })
	stopTimer := func() bool { return true }
	if timeout > 0 {
		stopTimer = p.after(timeout, func() { p.kill(errTimeout) })
	}
	return func() {
		if stopped := stop(); !stopTimer() || !stopped {
			p.kill(errEnded)
		}
	}
}

// obituary says how the child ended and what it said. It waits for the end.
func (p *process) obituary() string {
	<-p.ended
	text := "the executor process ended: " + p.cmd.ProcessState.String()
	if said := strings.TrimSpace(p.said.String()); said != "" {
		text += "\n" + said
	}
	return text
}

// lostCPU takes the CPU time of a dead child that was not told of as that of its last unit, and returns it.
func (p *process) lostCPU() time.Duration {
	rest := max(0, p.total()-p.units-time.Duration(p.besides.Load()))
	p.units += rest
	return rest
}

// total returns the CPU time of a child, once it is dead.
func (p *process) total() time.Duration {
	<-p.ended
	s := p.cmd.ProcessState
	return s.UserTime() + s.SystemTime()
}

// head keeps the first part of what is written to it: a Go program that dies says why first, and all its
// stacks then.
type head struct {
	mu  sync.Mutex
	buf []byte
}

const headSize = 8 << 10

// Write takes all of b.
func (h *head) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.buf = append(h.buf, b[:min(len(b), headSize-len(h.buf))]...)
	return len(b), nil
}

// String returns what was kept.
func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.buf)
}
