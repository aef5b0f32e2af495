package executor

import (
	"errors"
	"fmt"
	"time"
)

// frozenLook is how often Allow looks whether a child stands still by now.
const frozenLook = 500 * time.Microsecond

// errFreeze is why a child is killed that cannot be frozen.
var errFreeze = errors.New("freeze an executor")

// timer does something when its child has been going on for so long.
type timer struct {
	do    func()
	left  time.Duration
	since time.Time
	run   *time.Timer // nil: the child is frozen
	done  bool        // it was late to stop it
}

func (t *timer) start() {
	if t.done {
		return
	}
	t.since = time.Now()
	t.run = time.AfterFunc(t.left, t.do)
}

func (t *timer) pause() {
	if t.run != nil && !t.run.Stop() {
		t.done = true
		return
	}
	t.run = nil
	t.left = max(0, t.left-time.Since(t.since))
}

// after calls do when the child has been going on for so long. The returned function stops that, and reports whether
// it was in time.
func (p *process) after(d time.Duration, do func()) (stop func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := &timer{do: do, left: d}
	p.timers[t] = struct{}{}
	if !p.isFrozenNow() {
		t.start()
	}
	return func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.timers, t)
		return !t.done && (t.run == nil || t.run.Stop())
	}
}

// attend tells whether the child is frozen, and sets who is told so from now on; nil: nobody.
func (p *process) attend(tell func(bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tell = tell; tell != nil {
		tell(p.isFrozenNow())
	}
}

// freeze freezes the child, soon, and its timers, at once. One that cannot be frozen is killed.
func (p *process) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.isFrozenNow() || p.dead != nil || p.left {
		return
	}
	p.froze = time.Now()
	for t := range p.timers {
		t.pause()
	}
	if err := p.seat.Freeze(); err != nil {
		p.killNow(fmt.Errorf("%w: %w", errFreeze, err))
	}
	if p.tell != nil {
		p.tell(true)
	}
}

// thaw lets the child go on.
func (p *process) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.isFrozenNow() {
		return
	}
	if p.left {
		return
	}
	if err := p.seat.Thaw(); err != nil {
		p.killNow(fmt.Errorf("%w: let it go on: %w", errFreeze, err))
	}
	p.stood += time.Since(p.froze)
	p.froze = time.Time{}
	for t := range p.timers {
		t.start()
	}
	if p.tell != nil {
		p.tell(false)
	}
}

func (p *process) isFrozenNow() bool { return !p.froze.IsZero() }

func (p *process) isFrozen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.isFrozenNow()
}

// clock returns the time by the child's own clock, which stands while it is frozen.
func (p *process) clock() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.born) - p.stood
	if p.isFrozenNow() {
		now -= time.Since(p.froze)
	}
	return now
}

// standStill waits until a frozen child stands still, is dead, or is let go on again.
func (p *process) standStill() error {
	for {
		still, err := p.seat.Frozen()
		if err != nil && p.usable() {
			p.kill(fmt.Errorf("%w: see whether it is: %w", errFreeze, err))
		}
		if reason := p.reason(); reason != nil {
			<-p.ended
			if errors.Is(reason, errFreeze) {
				return reason
			}
			return nil
		}
		if still || !p.isFrozen() {
			return nil
		}
		select {
		case <-p.ended:
			return nil
		case <-time.After(frozenLook):
		}
	}
}
