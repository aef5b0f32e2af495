package gossip

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/simnet"
	"idlegrid/jobs"
)

const port = 7077

// soon is when views are complete even where gossip missed somebody: two push-pulls, and a bit.
const soon = 3 * time.Minute

// authority stands for the certificate authority: its vouchers are signatures over what they say.
var authority = keyOf("authority")

func keyOf(seed string) ed25519.PrivateKey {
	s := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(s[:])
}

func idOf(key ed25519.PrivateKey) jobs.AgentID {
	return jobs.AgentID(jobs.DigestOf(key.Public().(ed25519.PublicKey)))
}

func voucherText(pub ed25519.PublicKey, role peer.Role, class peer.Class, notAfter time.Time) []byte {
	b := append([]byte(pub), byte(role), byte(class))
	return strconv.AppendInt(b, notAfter.Unix(), 10)
}

func vouch(key ed25519.PrivateKey, role peer.Role, class peer.Class, notAfter time.Time) Voucher {
	text := voucherText(key.Public().(ed25519.PublicKey), role, class, notAfter)
	return Voucher{Role: role, Class: class, NotAfter: notAfter, Signature: ed25519.Sign(authority, text)}
}

func verifyVoucher(pub ed25519.PublicKey, role peer.Role, class peer.Class, notAfter time.Time, voucher []byte) error {
	if !ed25519.Verify(authority.Public().(ed25519.PublicKey), voucherText(pub, role, class, notAfter), voucher) {
		return errors.New("not the authority's signature")
	}
	return nil
}

// pool is a network with gossip peers, for use in a bubble.
type pool struct {
	t       *testing.T
	net     *simnet.Network
	tap     func(packet []byte)                    // nil, or told of each packet sent by peers started later
	dialled func(addr string, expect jobs.AgentID) // likewise of each stream
}

// tap lets a test see the packets that a peer sends.
type tap struct {
	net.PacketConn
	seen func(packet []byte)
}

func (c *tap) WriteTo(b []byte, to net.Addr) (int, error) {
	if c.seen != nil {
		c.seen(slices.Clone(b))
	}
	return c.PacketConn.WriteTo(b, to)
}

func newPool(t *testing.T) *pool {
	p := &pool{t: t, net: simnet.New(time.Millisecond, 1)}
	// memberlist's own goroutines end some time after Close; virtual time stands still after the test.
	t.Cleanup(func() { time.Sleep(2 * time.Minute) })
	return p
}

func ip(i int) string      { return fmt.Sprintf("10.0.%d.%d", i/200, 1+i%200) }
func address(i int) string { return fmt.Sprintf("%s:%d", ip(i), port) }

// options returns those of peer i, with boot counter 1: an office agent.
func (p *pool) options(i int) Options {
	key := keyOf(fmt.Sprint("machine ", i))
	return Options{
		Key: key, Boot: 1, Advertise: netip.MustParseAddrPort(address(i)), Secrets: [][]byte{make([]byte, 32)},
		State:         State{Voucher: vouch(key, peer.Agent, peer.Office, time.Now().Add(14*24*time.Hour)), Reachable: true, Cores: i},
		VerifyVoucher: verifyVoucher, Log: slog.New(slog.DiscardHandler),
	}
}

// start runs a peer with those options on the host of its address, until the end of the test.
func (p *pool) start(o Options) *Gossip {
	p.t.Helper()
	return p.startAs(o, func(*Gossip) {})
}

// startAs is start for a peer that lies.
func (p *pool) startAs(o Options, lie func(*Gossip)) *Gossip {
	p.t.Helper()
	p.attach(&o)
	g, err := newGossip(o)
	if err != nil {
		p.t.Fatal(err)
	}
	lie(g)
	if err := g.run(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := g.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return g
}

// attach gives o a packet connection, a listener and a dialer.
func (p *pool) attach(o *Options) {
	p.t.Helper()
	host := p.net.Host(o.Advertise.Addr().String())
	packets, err := host.ListenPacket(o.Advertise.Port())
	if err != nil {
		p.t.Fatal(err)
	}
	o.Packets = &tap{PacketConn: packets, seen: p.tap}
	l, err := host.Listen(o.Advertise.Port())
	if err != nil {
		p.t.Fatal(err)
	}
	done := make(chan struct{})
	p.t.Cleanup(func() { close(done); _ = l.Close() })
	streams := make(chan net.Conn)
	go func() {
		defer close(streams)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case streams <- c:
			case <-done:
			}
		}
	}()
	o.Streams = streams
	o.Dial = func(ctx context.Context, addr string, expect jobs.AgentID) (net.Conn, error) {
		if p.dialled != nil {
			p.dialled(addr, expect)
		}
		return host.Dial(ctx, addr)
	}
}

// run starts n peers, numbered from 0, that join through the first.
func (p *pool) run(n int) []*Gossip {
	p.t.Helper()
	all := make([]*Gossip, n)
	for i := range all {
		all[i] = p.start(p.options(i))
		p.join(all[i], 0)
	}
	p.eventually(soon, "all views complete", func() bool { return complete(all) })
	return all
}

func (p *pool) join(g *Gossip, through int) {
	p.t.Helper()
	if _, err := g.Join(p.t.Context(), []string{address(through)}); err != nil {
		p.t.Fatal(err)
	}
}

// eventually waits for ok to hold, at most for the given time.
func (p *pool) eventually(within time.Duration, what string, ok func() bool) time.Duration {
	p.t.Helper()
	start := time.Now()
	for !ok() {
		if time.Since(start) > within {
			p.t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return time.Since(start)
}

// complete reports whether each of the peers sees exactly them.
func complete(all []*Gossip) bool {
	want := make([]jobs.AgentID, 0, len(all))
	for _, g := range all {
		want = append(want, g.ID())
	}
	slices.SortFunc(want, jobs.AgentID.Compare)
	for _, g := range all {
		if !slices.Equal(want, seen(g)) {
			return false
		}
	}
	return true
}

func seen(g *Gossip) []jobs.AgentID {
	ids := []jobs.AgentID{}
	for _, m := range g.Members() {
		ids = append(ids, m.ID)
	}
	return ids
}

// lookup returns how g sees a member.
func lookup(g *Gossip, id jobs.AgentID) (peer.Member, bool) {
	all := g.Members()
	i := slices.IndexFunc(all, func(m peer.Member) bool { return m.ID == id })
	if i < 0 {
		return peer.Member{}, false
	}
	return all[i], true
}
