package gossip

import (
	"math/rand/v2"
	"time"
)

// Update changes what this member says of itself. Cores go out at most every max(10 s, 1.5 s a member), and no more often
// than Options.CoresEvery, the newest value then; everything else at once, because it is rare and placement reads it.
// Members shows the change when the others are told. change is called with a lock held and must only set fields; what
// others would refuse is not taken over.
func (g *Gossip) Update(change func(*State)) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := g.state.clone()
	change(&next)
	next = next.clone()
	if _, err := encodeMeta(next, g.opts.Key, g.name, g.opts.Advertise); err != nil {
		return err
	}
	g.state = next
	signal(g.dirty)
	return nil
}

// announce tells others what Update changed, when it is time.
func (g *Gossip) announce() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	p := pacer{said: g.opts.State.clone(), every: g.opts.CoresEvery, next: time.Now().Add(pause(1))}
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.dirty:
		case <-timer.C:
		}
		g.mu.Lock()
		want := g.state
		g.mu.Unlock()
		now := time.Now()
		say, again := p.due(want, now)
		if !say.equal(p.said) {
			p.tell(say, now, pause(g.roster.size()))
			g.say(say)
		}
		if again > 0 {
			timer.Reset(again)
		}
	}
}

// say makes s this member's meta and has memberlist spread it.
func (g *Gossip) say(s State) {
	meta, err := encodeMeta(s, g.opts.Key, g.name, g.opts.Advertise)
	if err != nil {
		g.log.Error("encode node meta", "err", err) // cannot be: Update tried it
		return
	}
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	if g.left || g.ctx.Err() != nil {
		return
	}
	g.mu.Lock()
	g.meta = meta
	g.mu.Unlock()
	// The only error is that the wait for the packet ran out. The change is queued before that wait, which
	// serves nothing here.
	_ = g.list.UpdateNode(time.Millisecond)
}

// pacer decides when a state may be announced. A change of 300 members every 10 s would fill memberlist's
// queues.
type pacer struct {
	said  State         // announced last
	every time.Duration // how often cores change at most
	next  time.Time     // before it, a change of cores waits, whatever else is announced meanwhile
}

// due returns what may be said now, and when there will be more of want; 0: not by itself.
func (p *pacer) due(want State, now time.Time) (say State, again time.Duration) {
	say = want
	if wait := p.next.Sub(now); wait > 0 && want.Cores != p.said.Cores {
		say.Cores, again = p.said.Cores, wait
	}
	return say, again
}

// tell notes what is announced.
func (p *pacer) tell(s State, now time.Time, pause time.Duration) {
	if s.Cores != p.said.Cores {
		pause = max(pause, p.every)
	}
	if next := now.Add(pause); next.After(p.next) {
		p.next = next
	}
	p.said = s
}

// pause returns the time between two changes of cores in a pool of n. When all 100 members of a pool change
// as often as this allows, each sends 2.5 kB/s, of the 4.2 kB/s that fit into the packets of gossip
// (measured). A random quarter more keeps members apart.
func pause(n int) time.Duration {
	d := max(10*time.Second, time.Duration(n)*1500*time.Millisecond)
	return d + rand.N(d/4) // spreads load, keeps no secret
}
