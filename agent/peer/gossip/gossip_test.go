package gossip

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

func TestJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(20)
		for i := range all {
			want := peer.Member{
				ID: idOf(p.options(i).Key), Address: address(i), Role: peer.Agent, Class: peer.Office,
				Reachable: true, Cores: i, Version: peer.Version,
			}
			if m, _ := lookup(all[7], want.ID); m != want {
				t.Errorf("member %d is seen as %+v, want %+v", i, m, want)
			}
		}
		if !slices.IsSortedFunc(all[3].Members(), func(a, b peer.Member) int { return a.ID.Compare(b.ID) }) {
			t.Error("members are not ordered by ID")
		}
	})
}

func TestJoinNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		g := p.start(p.options(0))
		if n, err := g.Join(t.Context(), []string{address(0)}); n != 0 || err != nil {
			t.Errorf("joined itself: %d, %v", n, err)
		}
		n, err := g.Join(t.Context(), []string{address(1), address(2)})
		if n != 0 || jobs.KindOf(err) != jobs.Unavailable || jobs.HintOf(err) == "" {
			t.Errorf("joined peers that are off: %d, %v", n, err)
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("an error of several lines: %q", err)
		}
		if len(g.Members()) != 1 {
			t.Errorf("alone, and sees %d members", len(g.Members()))
		}
	})
}

// TestJoinPastTheDead has an agent come back with saved addresses most of which are switched off.
func TestJoinPastTheDead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		p.start(p.options(0))
		g := p.start(p.options(1))
		saved := []string{"no address", address(1)}
		for i := range 30 {
			saved = append(saved, address(100+i))
		}
		start := time.Now()
		if n, err := g.Join(t.Context(), append(saved, address(0))); n != 1 || err != nil {
			t.Fatalf("joined %d: %v", n, err)
		}
		if d := time.Since(start); d > 90*time.Second {
			t.Errorf("took %s", d)
		}
	})
}

func TestDeathAndLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(8)
		if err := all[6].Leave(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		p.eventually(soon, "the one that left is gone", func() bool { return complete(without(all, 6)) })
		p.net.Stop(ip(7))
		took := p.eventually(150*time.Second, "the dead one is gone", func() bool { return complete(all[:6]) })
		t.Logf("a death was seen by all after %s", took)
		if took < 20*time.Second {
			t.Errorf("a silent member was given up after %s", took)
		}
	})
}

func without(all []*Gossip, i int) []*Gossip { return slices.Delete(slices.Clone(all), i, i+1) }

func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(5)
		p.net.Stop(ip(4)) // no leave: the old name stays alive for a while
		o := p.options(4)
		o.Boot, o.State.Cores, o.State.Draining = 2, 44, true
		again := p.start(o)
		p.join(again, 0)
		all[4] = again
		p.eventually(soon, "the new run is shown once by all", func() bool {
			for _, g := range all {
				if m, ok := lookup(g, again.ID()); !ok || m.Cores != 44 || !m.Draining {
					return false
				}
			}
			return complete(all)
		})
		time.Sleep(10 * time.Minute) // the death of the old name must not take the new one along
		if !complete(all) {
			t.Error("the restarted agent was lost with its old name")
		}
	})
}

// TestTwins runs two programs with one machine's identity.
func TestTwins(t *testing.T) {
	leave := func(g *Gossip) error { return g.Leave(10 * time.Second) }
	for end, test := range map[string]struct {
		end    func(*Gossip) error
		within time.Duration
	}{"leaves": {leave, soon}, "dies": {(*Gossip).Close, 3 * soon}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t)
			all := p.run(4)
			o := p.options(3)
			o.Boot, o.State.Cores, o.Advertise = 9, 99, netip.MustParseAddrPort(address(50))
			twin := p.start(o)
			p.join(twin, 0)
			shown := func(want string) func() bool {
				return func() bool {
					for _, g := range all {
						m, _ := lookup(g, twin.ID())
						if m.Address != want || len(g.Members()) != 4 {
							return false
						}
					}
					return true
				}
			}
			p.eventually(soon, "the higher boot counter is shown", shown(address(50)))
			time.Sleep(5 * time.Minute)
			if !shown(address(50))() {
				t.Error("the higher boot counter is not shown any more")
			}
			if err := test.end(twin); err != nil {
				t.Fatal(err)
			}
			took := p.eventually(test.within, "the other one is shown", shown(address(3)))
			t.Logf("the higher one %s: the other one is shown %s later", end, took)
		})
	}
}

func TestPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(10)
		var left, right []string
		for i := range all {
			if i < 4 {
				left = append(left, ip(i))
			} else {
				right = append(right, ip(i))
			}
		}
		p.net.Partition(left, right)
		p.eventually(4*time.Minute, "two pools", func() bool { return complete(all[:4]) && complete(all[4:]) })
		time.Sleep(10 * time.Minute)
		p.net.Heal()
		// After so long nobody gossips to the dead any more: an agent that misses its peers joins again.
		p.join(all[0], 9)
		p.eventually(soon, "one pool again", func() bool { return complete(all) })
	})
}

func TestLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(6)
		p.net.SetLoss(0.2)
		time.Sleep(30 * time.Minute)
		p.net.SetLoss(0)
		p.eventually(soon, "all views complete", func() bool { return complete(all) })
	})
}

func TestUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(4) // so few that each gossip reaches all
		time.Sleep(time.Minute)
		g, at := all[2], all[3]
		updates := 0
		last := 2
		end := time.Now().Add(2 * time.Minute)
		for i := 0; time.Now().Before(end); i++ {
			if err := g.Update(func(s *State) { s.Cores = 1000 + i }); err != nil {
				t.Fatal(err)
			}
			time.Sleep(200 * time.Millisecond)
			if m, _ := lookup(at, g.ID()); m.Cores != last {
				last = m.Cores
				updates++
			}
		}
		if updates < 7 || updates > 13 {
			t.Errorf("%d updates arrived in two minutes", updates)
		}
		if err := g.Update(func(s *State) { s.Cores = 7 }); err != nil {
			t.Fatal(err)
		}
		p.eventually(20*time.Second, "the newest value arrives", func() bool { m, _ := lookup(at, g.ID()); return m.Cores == 7 })
		if err := g.Update(func(s *State) { s.Draining, s.Reachable, s.Cores = true, false, 8 }); err != nil {
			t.Fatal(err)
		}
		p.eventually(4*time.Second, "draining arrives at once", func() bool {
			m, _ := lookup(at, g.ID())
			return m.Draining && !m.Reachable
		})
		p.eventually(20*time.Second, "the cores follow", func() bool { m, _ := lookup(at, g.ID()); return m.Cores == 8 })
		if err := g.Update(func(s *State) { s.Cores = -1 }); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("a negative number of cores: %v", err)
		}
	})
}

func TestRenewedVoucher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := []*Gossip{p.start(p.options(0))}
		o := p.options(1)
		o.State.Voucher = vouch(o.Key, peer.Agent, peer.Office, time.Now().Add(time.Hour))
		all = append(all, p.start(o))
		p.join(all[1], 0)
		p.eventually(soon, "joined", func() bool { return complete(all) })

		time.Sleep(time.Hour + 5*time.Minute)
		if !complete(all) {
			t.Error("a voucher is refused within the grace for clocks")
		}
		time.Sleep(6 * time.Minute)
		if _, ok := lookup(all[0], all[1].ID()); ok {
			t.Error("a member with an expired voucher is shown")
		}
		if err := all[1].Update(func(s *State) {
			s.Voucher = vouch(o.Key, peer.Agent, peer.Office, time.Now().Add(time.Hour))
		}); err != nil {
			t.Fatal(err)
		}
		p.eventually(soon, "shown again with its new voucher", func() bool { return complete(all) })
	})
}

func TestCoordinatorIsAMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		o := p.options(0)
		o.State.Voucher = vouch(o.Key, peer.Coordinator, 0, time.Now().Add(time.Hour))
		coordinator := p.start(o)
		agent := p.start(p.options(1))
		p.join(agent, 0)
		p.eventually(soon, "joined", func() bool { return complete([]*Gossip{coordinator, agent}) })
		if m, _ := lookup(agent, coordinator.ID()); m.Role != peer.Coordinator || m.Class != 0 || m.Eligible() {
			t.Errorf("the coordinator is seen as %+v", m)
		}
	})
}

func TestWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		var got atomic.Pointer[Wake]
		g := p.start(p.options(0))
		o := p.options(1)
		o.OnWake = func(w Wake) { got.Store(&w) }
		woken := p.start(o)
		p.join(woken, 0)
		p.eventually(soon, "joined", func() bool { return complete([]*Gossip{g, woken}) })
		job := jobs.JobID(jobs.DigestOf([]byte("job")))
		if n := g.Wake([]jobs.AgentID{{1}, woken.ID()}, job); n != 1 {
			t.Fatalf("%d packets for one member and one stranger", n)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		if w := got.Load(); w == nil || *w != (Wake{Job: job, From: g.ID()}) {
			t.Fatalf("woken by %v", w)
		}
		if n := g.Wake(slices.Repeat([]jobs.AgentID{woken.ID()}, 100), job); n != MaxWoken {
			t.Errorf("%d packets at once, want %d", n, MaxWoken)
		}
	})
}

func TestWakeFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		g := p.start(p.options(0))
		o := p.options(1)
		var calls atomic.Int32
		o.OnWake = func(Wake) { calls.Add(1); time.Sleep(time.Minute) }
		slow := p.start(o)
		p.join(slow, 0)
		p.eventually(soon, "joined", func() bool { return complete([]*Gossip{g, slow}) })
		for range 10 {
			g.Wake(slices.Repeat([]jobs.AgentID{slow.ID()}, MaxWoken), jobs.JobID{1})
		}
		(&delegate{g: slow}).NotifyMsg([]byte("no wake-up"))
		time.Sleep(90 * time.Second)
		if s := slow.Stats(); s.Dropped < 200 || s.Dropped > 320 || s.Malformed != 1 || calls.Load() != 2 {
			t.Errorf("%+v, %d calls", s, calls.Load())
		}
		if !complete([]*Gossip{g, slow}) {
			t.Error("a slow OnWake cost the membership")
		}
	})
}

func TestOnChangeIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		o := p.options(0)
		var calls atomic.Int32
		o.OnChange = func() { calls.Add(1); time.Sleep(10 * time.Second) }
		all := []*Gossip{p.start(o)}
		for i := 1; i < 10; i++ {
			all = append(all, p.start(p.options(i)))
			p.join(all[i], 0)
		}
		p.eventually(soon, "joined", func() bool { return complete(all) })
		time.Sleep(time.Minute)
		if n := calls.Load(); n < 2 || n > 4 {
			t.Errorf("OnChange was called %d times for ten members that joined at once", n)
		}
	})
}

// TestIPv6AndDial runs a pool of IPv6 and IPv4 hosts and looks at whom its streams are meant for.
func TestIPv6AndDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		type call struct {
			addr   string
			expect jobs.AgentID
		}
		var mu sync.Mutex
		var calls []call
		p.dialled = func(addr string, expect jobs.AgentID) {
			mu.Lock()
			defer mu.Unlock()
			calls = append(calls, call{addr, expect})
		}
		all := []*Gossip{p.start(p.options(0))}
		o := p.options(1)
		o.Advertise = longestAddress
		all = append(all, p.start(o))
		p.join(all[1], 0)
		p.eventually(soon, "joined", func() bool { return complete(all) })
		time.Sleep(5 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if first := calls[0]; first.addr != address(0) || !first.expect.IsZero() {
			t.Errorf("Join dialled %s and expected %s", first.addr, first.expect)
		}
		want := map[string]jobs.AgentID{address(0): all[0].ID(), longestAddress.String(): all[1].ID()}
		met := map[string]bool{}
		for _, c := range calls[1:] {
			if met[c.addr] = true; c.expect != want[c.addr] {
				t.Errorf("dialled %s and expected %s", c.addr, c.expect)
			}
		}
		if len(met) != 2 {
			t.Errorf("dialled %v", met)
		}
	})
}
