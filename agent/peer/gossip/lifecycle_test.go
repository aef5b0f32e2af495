package gossip

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		g, other := p.start(p.options(0)), p.start(p.options(1))
		p.join(other, 0)
		leaving := make(chan error)
		go func() { leaving <- g.Leave(time.Second) }()
		go func() { _ = g.Close() }()
		synctest.Wait()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if err := <-leaving; err != nil {
			t.Logf("a second was too short for the word to get out: %v", err)
		}
		if err := g.Leave(time.Second); err != nil {
			t.Errorf("leave after close: %v", err)
		}
		if n, err := g.Join(t.Context(), []string{address(1)}); n != 0 || err == nil {
			t.Errorf("join after close: %d, %v", n, err)
		}
		if err := g.Update(func(s *State) { s.Draining = true }); err != nil {
			t.Errorf("update after close: %v", err)
		}
		g.Wake([]jobs.AgentID{other.ID()}, jobs.JobID{1})
		alone := p.start(p.options(2))
		if err := alone.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestCloseDuringJoin has Close end a Join that waits for PCs that are off.
func TestCloseDuringJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		g := p.start(p.options(0))
		time.AfterFunc(time.Second, func() { _ = g.Close() })
		start := time.Now()
		if _, err := g.Join(t.Context(), []string{address(1)}); err == nil || time.Since(start) != time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
	})
}

func TestOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPool(t)
		tests := map[string]struct {
			change func(*Options)
			want   string
		}{
			"no key":           {func(o *Options) { o.Key = nil }, "key of 0 bytes"},
			"short gossip key": {func(o *Options) { o.Secrets = [][]byte{make([]byte, 16)} }, "gossip key of 16 bytes, expected 32"},
			"no gossip key":    {func(o *Options) { o.Secrets = nil }, "no gossip key"},
			"any address":      {func(o *Options) { o.Advertise = netip.MustParseAddrPort("0.0.0.0:1") }, "advertised address"},
			"expired":          {func(o *Options) { o.State.Voucher.NotAfter = time.Now().Add(-time.Hour) }, "voucher ended"},
			"foreign voucher":  {func(o *Options) { o.State.Voucher.Class = peer.AlwaysOn }, "own voucher"},
			"a submitter":      {func(o *Options) { o.State.Voucher.Role = peer.Submitter }, "role 3"},
		}
		for name, test := range tests {
			o := p.options(0)
			pc, err := p.net.Host(ip(0)).ListenPacket(port)
			if err != nil {
				t.Fatal(err)
			}
			o.Packets, o.Streams = pc, make(chan net.Conn)
			o.Dial = func(context.Context, string, jobs.AgentID) (net.Conn, error) { return nil, net.ErrClosed }
			test.change(&o)
			if _, err := New(o); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, want %q", name, err, test.want)
			}
			if err := pc.Close(); err == nil {
				t.Errorf("%s: New left the packet connection open", name)
			}
		}
		if _, err := New(Options{}); err == nil || !strings.Contains(err.Error(), "no dialer") || !strings.Contains(err.Error(), "no log") {
			t.Errorf("not all problems at once: %v", err)
		}
	})
}
