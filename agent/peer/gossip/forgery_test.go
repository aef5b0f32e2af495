package gossip

import (
	"crypto/ed25519"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/simnet"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// honest returns what memberlist says of peer i when it is honest.
func honest(t *testing.T, o Options) *memberlist.Node {
	t.Helper()
	name := nameOf(idOf(o.Key), o.Boot)
	meta, err := encodeMeta(o.State, o.Key, name, o.Advertise)
	if err != nil {
		t.Fatal(err)
	}
	const v = memberlist.ProtocolVersion2Compatible
	return &memberlist.Node{
		Name: name, Addr: o.Advertise.Addr().AsSlice(), Port: o.Advertise.Port(), Meta: meta,
		PMin: 1, PMax: memberlist.ProtocolVersionMax, PCur: v,
	}
}

// resign returns the meta with a change, signed by key for the name and address.
func resign(t *testing.T, n *memberlist.Node, key ed25519.PrivateKey, change func(*gridv1.NodeMeta)) []byte {
	t.Helper()
	var m gridv1.NodeMeta
	if err := proto.Unmarshal(n.Meta, &m); err != nil {
		t.Fatal(err)
	}
	change(&m)
	m.Signature = nil
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(&m)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := addressOf(n)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := proto.Marshal(&gridv1.NodeMeta{Signature: ed25519.Sign(key, signedBytes(body, n.Name, addr))})
	if err != nil {
		t.Fatal(err)
	}
	return append(body, tail...)
}

func TestClaims(t *testing.T) {
	now := time.Now()
	p := &pool{t: t}
	o, evil := p.options(1), p.options(2)
	flip := func(b []byte, i int) []byte { b = slices.Clone(b); b[i] ^= 1; return b }
	tests := map[string]struct {
		claim func(n *memberlist.Node)
		want  jobs.ErrorKind
		merge bool // a first exchange with whoever shows it is refused
	}{
		"another's name":  {func(n *memberlist.Node) { n.Name = honest(t, evil).Name }, jobs.Corrupt, true},
		"another run":     {func(n *memberlist.Node) { n.Name = nameOf(idOf(o.Key), 2) }, jobs.Corrupt, true},
		"odd name":        {func(n *memberlist.Node) { n.Name = nameOf(idOf(o.Key), 0) + "1" }, jobs.Invalid, true},
		"no name":         {func(n *memberlist.Node) { n.Name = "" }, jobs.Invalid, true},
		"another's meta":  {func(n *memberlist.Node) { n.Meta = honest(t, evil).Meta }, jobs.Corrupt, true},
		"changed address": {func(n *memberlist.Node) { n.Addr = net.IPv4(10, 9, 9, 9).To4() }, jobs.Corrupt, true},
		"changed port":    {func(n *memberlist.Node) { n.Port++ }, jobs.Corrupt, true},
		"no address":      {func(n *memberlist.Node) { n.Addr = nil }, jobs.Invalid, true},
		"mapped address":  {func(n *memberlist.Node) { n.Addr = n.Addr.To16() }, jobs.Invalid, true},
		"changed meta":    {func(n *memberlist.Node) { n.Meta = flip(n.Meta, len(n.Meta)-67) }, jobs.Corrupt, true},
		"bad signature":   {func(n *memberlist.Node) { n.Meta = flip(n.Meta, len(n.Meta)-1) }, jobs.Corrupt, true},
		"cut meta":        {func(n *memberlist.Node) { n.Meta = n.Meta[:len(n.Meta)-1] }, jobs.Invalid, true},
		"no meta":         {func(n *memberlist.Node) { n.Meta = nil }, jobs.Invalid, true},
		"long meta":       {func(n *memberlist.Node) { n.Meta = append(make([]byte, 200), n.Meta...) }, jobs.Invalid, true},
		"signed by another": {func(n *memberlist.Node) {
			n.Meta = resign(t, n, evil.Key, func(m *gridv1.NodeMeta) { m.Cores = 1 })
		}, jobs.Corrupt, true},
		"class of its own": {func(n *memberlist.Node) {
			n.Meta = resign(t, n, o.Key, func(m *gridv1.NodeMeta) { m.Class = gridv1.Class_CLASS_ALWAYS_ON })
		}, jobs.Denied, false},
		"voucher for another": {func(n *memberlist.Node) {
			n.Meta = resign(t, n, o.Key, func(m *gridv1.NodeMeta) { m.Voucher = evil.State.Voucher.Signature })
		}, jobs.Denied, false},
		"longer voucher": {func(n *memberlist.Node) {
			n.Meta = resign(t, n, o.Key, func(m *gridv1.NodeMeta) { m.VoucherNotAfter++ })
		}, jobs.Denied, false},
		"expired voucher": {func(n *memberlist.Node) {
			v := vouch(o.Key, peer.Agent, peer.Office, now.Add(-11*time.Minute))
			n.Meta = resign(t, n, o.Key, func(m *gridv1.NodeMeta) {
				m.Voucher, m.VoucherNotAfter = v.Signature, v.NotAfter.Unix()
			})
		}, jobs.Expired, false},
		"a submitter": {func(n *memberlist.Node) {
			v := vouch(o.Key, peer.Submitter, 0, now.Add(time.Hour))
			n.Meta = resign(t, n, o.Key, func(m *gridv1.NodeMeta) {
				m.Voucher, m.VoucherNotAfter, m.Role, m.Class = v.Signature, v.NotAfter.Unix(), gridv1.Role_ROLE_SUBMITTER, 0
			})
		}, jobs.Invalid, true},
		"too many cores": {func(n *memberlist.Node) {
			n.Meta = resign(t, n, o.Key, func(m *gridv1.NodeMeta) { m.Cores = maxCores + 1 })
		}, jobs.Invalid, true},
		"endless voucher": {func(n *memberlist.Node) {
			n.Meta = resign(t, n, o.Key, func(m *gridv1.NodeMeta) { m.VoucherNotAfter = 1 << 62 })
		}, jobs.Invalid, true},
		"old protocol": {func(n *memberlist.Node) { n.PCur = 1 }, jobs.Invalid, false},
		"new protocol": {func(n *memberlist.Node) { n.PMin = 5 }, jobs.Invalid, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := &Gossip{name: "me", roster: newRoster()}
			d := &delegate{g: g, verifier: newVerifier(verifyVoucher)}
			n := honest(t, o)
			for range 2 { // the second time the answer to the honest claim is remembered
				if err := d.NotifyAlive(n); err != nil {
					t.Fatalf("the honest claim is refused: %v", err)
				}
			}
			if err := d.NotifyMerge([]*memberlist.Node{n}); err != nil {
				t.Fatalf("the honest member is refused: %v", err)
			}
			test.claim(n)
			if err := d.NotifyAlive(n); err == nil || jobs.KindOf(err) != test.want {
				t.Errorf("kind %s (%v), want %s", jobs.KindOf(err), err, test.want)
			}
			if err := d.NotifyMerge([]*memberlist.Node{n}); (err != nil) != test.merge {
				t.Errorf("merge: %v", err)
			}
			n.State = memberlist.StateDead
			if err := d.NotifyMerge([]*memberlist.Node{n}); err != nil {
				t.Errorf("a dead member's old claim: %v", err)
			}
		})
	}
}

// TestManyRuns has one agent claim more and more runs.
func TestManyRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newPool(t).options(1)
		g := &Gossip{name: "me", roster: newRoster(), changed: make(chan struct{}, 1), superseded: make(chan struct{}, 1)}
		d := &delegate{g: g, verifier: newVerifier(verifyVoucher)}
		claim := func(boot uint64) error {
			o.Boot = boot
			err := d.NotifyAlive(honest(t, o))
			if err == nil {
				d.NotifyJoin(honest(t, o))
			}
			return err
		}
		fine := func(boot uint64) {
			t.Helper()
			if err := claim(boot); err != nil {
				t.Fatalf("run %d: %v", boot, err)
			}
		}
		refused := func(boot uint64, want jobs.ErrorKind) {
			t.Helper()
			if err := claim(boot); err == nil || jobs.KindOf(err) != want {
				t.Fatalf("run %d: %v, expected an error of kind %s", boot, err, want)
			}
		}
		for boot := range uint64(maxRuns) {
			fine(10 + boot)
		}
		const last = 10 + maxRuns
		refused(last, jobs.Exhausted)
		time.Sleep(runEvery)
		fine(last)
		refused(last+1, jobs.Exhausted)
		fine(13)                 // it is seated
		refused(9, jobs.Invalid) // there are later ones
		if n := len(g.roster.former()); n != maxRuns || len(g.superseded) != 1 {
			t.Errorf("%d former runs, expected %d", n, maxRuns)
		}
		for boot := range uint64(maxRuns + 1) {
			o.Boot = 10 + boot
			d.NotifyLeave(honest(t, o))
		}
		fine(last) // it was not dead
		refused(last+1, jobs.Exhausted)
	})
}

// TestVerifierForgets floods the verifier with more good claims than it remembers.
func TestVerifierForgets(t *testing.T) {
	v := newVerifier(anyVoucher)
	o := (&pool{t: t}).options(1)
	for boot := range uint64(maxKnown + 10) {
		o.Boot = boot
		if _, err := v.verify(honest(t, o)); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(v.known); n > maxKnown || n < 10 {
		t.Errorf("%d claims remembered", n)
	}
}

// TestRogue lets holders of the gossip key lie to a pool over the real ways.
func TestRogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(4)
		victim := all[2]
		lies := map[string]func(*Gossip){
			"under a member's name": func(g *Gossip) { g.name = nameOf(victim.ID(), 2) },
			"with a member's meta":  func(g *Gossip) { g.name, g.meta = victim.name, victim.meta },
			"with an invented ID":   func(g *Gossip) { g.name = nameOf(jobs.AgentID{1}, 1) },
			"without a meta":        func(g *Gossip) { g.meta = nil },
			"after its voucher": func(g *Gossip) {
				g.meta = metaWith(t, g, func(s *State) { s.Voucher.NotAfter = time.Now().Add(-time.Hour) })
			},
			"promoting itself": func(g *Gossip) { g.meta = metaWith(t, g, func(s *State) { s.Voucher.Class = peer.AlwaysOn }) },
		}
		i := 20
		for what, lie := range lies {
			i++
			rogue := p.startAs(p.options(i), lie)
			if _, err := rogue.Join(t.Context(), []string{address(0), address(1), address(2)}); err != nil {
				t.Logf("%s: %v", what, err)
			}
		}
		for range 600 {
			time.Sleep(time.Second)
			if !complete(all) {
				t.Fatalf("the liars changed the views: %d members", len(all[0].Members()))
			}
			if m, _ := lookup(all[0], victim.ID()); m.Address != address(2) {
				t.Fatalf("the victim was moved to %s", m.Address)
			}
		}
		if all[0].Stats().Refused == 0 {
			t.Error("nothing was refused: did the lies arrive?")
		}
	})
}

func metaWith(t *testing.T, g *Gossip, change func(*State)) []byte {
	t.Helper()
	s := g.state.clone()
	change(&s)
	meta, err := encodeMeta(s, g.opts.Key, g.name, g.opts.Advertise)
	if err != nil {
		t.Fatal(err)
	}
	return meta
}

func TestWrongSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(3)
		o := p.options(9)
		o.Secrets = [][]byte{slices.Repeat([]byte{1}, 32)}
		stranger := p.start(o)
		if n, err := stranger.Join(t.Context(), []string{address(0)}); n != 0 || jobs.KindOf(err) != jobs.Unavailable {
			t.Errorf("joined %d: %v", n, err)
		}
		time.Sleep(5 * time.Minute)
		if !complete(all) || !complete([]*Gossip{stranger}) {
			t.Error("a peer with another gossip key is seen, or sees")
		}
		// In the middle of a change of keys both are known, and either may encrypt.
		o = p.options(8)
		o.Secrets = [][]byte{make([]byte, 32), slices.Repeat([]byte{1}, 32)}
		both := p.start(o)
		p.join(both, 0)
		all = append(all, both)
		p.eventually(soon, "joined", func() bool { return complete(all) })
	})
}

// TestReplayedLeave records what an agent sends when it leaves, and plays it back when the agent is there
// again. The second half shows what the boot counter in the name is for.
func TestReplayedLeave(t *testing.T) {
	for name, test := range map[string]struct {
		boot    uint64
		evicted bool
	}{"as it should be": {2, false}, "with the name of last time": {1, true}} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t)
			all := p.run(5)
			var mu sync.Mutex
			var record [][]byte
			p.tap = func(b []byte) { mu.Lock(); defer mu.Unlock(); record = append(record, b) }
			leaver := p.start(p.options(5))
			p.join(leaver, 0)
			p.eventually(soon, "joined", func() bool { return complete(append(slices.Clone(all), leaver)) })
			if err := leaver.Leave(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			if err := leaver.Close(); err != nil {
				t.Fatal(err)
			}
			p.tap = nil
			p.net.Stop(ip(5)) // frees the listener's port
			time.Sleep(10 * time.Minute)

			o := p.options(5)
			o.Boot = test.boot
			back := p.start(o)
			p.join(back, 0)
			pool := append(slices.Clone(all), back)
			p.eventually(soon, "back", func() bool { return complete(pool) })

			replay(t, p.net, record, len(all))
			evicted := false
			for range 500 {
				time.Sleep(10 * time.Millisecond)
				evicted = evicted || !complete(pool)
			}
			if evicted != test.evicted {
				t.Errorf("%s: evicted %v, want %v", name, evicted, test.evicted)
			}
		})
	}
}

func replay(t *testing.T, n *simnet.Network, record [][]byte, peers int) {
	t.Helper()
	attacker, err := n.Host("10.6.6.6").ListenPacket(0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range record {
		for i := range peers {
			to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(address(i)))
			if _, err := attacker.WriteTo(b, to); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestStranger: where to ask is said once of who is certified by a key that is not known, and of nobody else.
func TestStranger(t *testing.T) {
	p := &pool{t: t}
	g := &Gossip{name: "me", roster: newRoster(), changed: make(chan struct{}, 1)}
	var says error
	d := &delegate{g: g, verifier: newVerifier(func(ed25519.PublicKey, peer.Role, peer.Class, time.Time, []byte) error { return says })}
	o := p.options(1)
	says = jobs.Errorf(jobs.Denied, "another issuer")
	if err := d.NotifyAlive(honest(t, o)); jobs.KindOf(err) != jobs.Denied {
		t.Errorf("%v, expected that it is refused", err)
	}
	if got := g.Stranger(); got != o.Advertise.String() {
		t.Errorf("stranger %q, expected %s", got, o.Advertise)
	}
	if got := g.Stranger(); got != "" {
		t.Errorf("said twice: %q", got)
	}
	says = nil
	for _, n := range []*memberlist.Node{honest(t, o), {Name: "forged", Meta: []byte{1}}} {
		_ = d.NotifyAlive(n) // one is fine, the other makes no sense
		if got := g.Stranger(); got != "" {
			t.Errorf("%s is not one whose voucher does not hold: %q", n.Name, got)
		}
	}
}

// TestCrashLoop: an agent that is killed and started again every few seconds is seen by all soon after each start, does
// not fill the others' lists with its former runs, and does not keep them from hearing of each other.
func TestCrashLoop(t *testing.T) {
	for _, each := range []time.Duration{time.Second, 2 * time.Second, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p := newPool(t)
			all := p.run(3)
			var slowest time.Duration
			for boot := range uint64(60) {
				o := p.options(len(all))
				o.Boot = 1 + boot
				g := p.start(o)
				p.join(g, 0)
				slowest = max(slowest, p.eventually(10*time.Second, fmt.Sprintf("run %d is seen", o.Boot), func() bool {
					return top(all, g)
				}))
				if err := g.Update(func(s *State) { s.Draining = true }); err != nil { // its incarnation rises
					t.Fatal(err)
				}
				time.Sleep(each)
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
				p.net.Stop(ip(len(all))) // frees the listener's port
				time.Sleep(each)
			}
			for _, member := range all {
				if n := member.list.NumMembers(); n > len(all)+1 {
					t.Errorf("a run each %s: memberlist has %d live names for %d members", each, n, len(all)+1)
				}
			}
			if err := all[1].Update(func(s *State) { s.Draining = true }); err != nil {
				t.Fatal(err)
			}
			heard := p.eventually(10*time.Second, "the others hear of a member", func() bool {
				return !slices.ContainsFunc(all, func(member *Gossip) bool {
					m, _ := lookup(member, all[1].ID())
					return !m.Draining
				})
			})
			t.Logf("a run each %s: seen by all after at most %s; then a member's word after %s", 2*each, slowest, heard)
		})
	}
}

// top reports whether all members show this run of its agent.
func top(all []*Gossip, g *Gossip) bool {
	return !slices.ContainsFunc(all, func(member *Gossip) bool {
		name, _, _ := member.roster.top(g.ID())
		return name != g.name
	})
}

// TestTooFast: one that starts again faster than the pool takes it in is seen some time after its last start.
func TestTooFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		all := p.run(3)
		var g *Gossip
		for boot := range uint64(3 * maxRuns) {
			if g != nil {
				if err := g.Close(); err != nil {
					t.Fatal(err)
				}
				p.net.Stop(ip(len(all)))
			}
			o := p.options(len(all))
			o.Boot = 1 + boot
			g = p.start(o)
			p.join(g, 0)
			time.Sleep(200 * time.Millisecond)
		}
		if all[0].Stats().Refused == 0 {
			t.Error("no run was refused")
		}
		t.Logf("seen after %s", p.eventually(soon, "the last run is seen", func() bool { return top(all, g) }))
	})
}
