package gossip

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// TestLoopback runs two peers on real sockets, in real time: what virtual time cannot show is that the
// system's connections behave as this package expects.
func TestLoopback(t *testing.T) {
	woken := make(chan Wake, 1)
	changed := make(chan struct{}, 100)
	a := startLoopback(t, "a", func(o *Options) { o.OnChange = func() { changed <- struct{}{} } })
	b := startLoopback(t, "b", func(o *Options) { o.OnWake = func(w Wake) { woken <- w } })
	if n, err := b.Join(t.Context(), []string{a.opts.Advertise.String()}); n != 1 || err != nil {
		t.Fatalf("joined %d: %v", n, err)
	}
	for late := time.After(10 * time.Second); !complete([]*Gossip{a, b}); {
		select { // b is through with the exchange; a may take a moment more
		case <-changed:
		case <-late:
			t.Fatalf("a sees %v, b sees %v", a.Members(), b.Members())
		}
	}
	a.Wake([]jobs.AgentID{b.ID()}, jobs.JobID{1})
	select {
	case w := <-woken:
		if w != (Wake{Job: jobs.JobID{1}, From: a.ID()}) {
			t.Errorf("woken by %+v", w)
		}
	case <-time.After(10 * time.Second):
		t.Error("no wake-up arrived")
	}
}

func startLoopback(t *testing.T, seed string, change func(*Options)) *Gossip {
	t.Helper()
	packets, l := listenLoopback(t)
	streams := make(chan net.Conn)
	done := make(chan struct{})
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			select {
			case streams <- c:
			case <-done:
				_ = c.Close()
			}
		}
	}()
	key := keyOf(seed)
	o := Options{
		Key: key, Boot: 1, Advertise: l.Addr().(*net.TCPAddr).AddrPort(), Secrets: [][]byte{make([]byte, 32)},
		State:   State{Voucher: vouch(key, peer.Agent, peer.AlwaysOn, time.Now().Add(time.Hour).Truncate(time.Second)), Reachable: true},
		Packets: packets, Streams: streams, VerifyVoucher: verifyVoucher, Log: slog.New(slog.DiscardHandler),
		Dial: func(ctx context.Context, addr string, _ jobs.AgentID) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		},
	}
	change(&o)
	g, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		close(done)
		_ = l.Close()
	})
	return g
}

// listenLoopback takes a port that is free for packets and for streams.
func listenLoopback(t *testing.T) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 20 {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(l.Addr().(*net.TCPAddr).AddrPort()))
		if err == nil {
			return packets, l
		}
		_ = l.Close()
	}
	t.Fatal("no port is free for both")
	return nil, nil
}
