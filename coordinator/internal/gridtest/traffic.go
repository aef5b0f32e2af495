package gridtest

import (
	"bytes"
	"context"
	"net"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/stats"

	"idlegrid/agent/peer/node"
)

// Traffic is what peers have said to each other, in bytes: payloads of UDP, and TLS records with the handshakes. What
// IP, UDP and TCP add is not counted, and neither is what users say.
type Traffic struct {
	Gossip int64 // packets and streams
	Calls  int64 // all that gRPC's connections carried, and so the sum of what is below
	Spread int64 // messages of the service Records
	Repair int64 // messages of calls by a peer that looks after copies
	Work   int64 // messages of all other calls: exchanges, programs, packs, checkpoints
	// Upkeep is what else the connections carried: handshakes, headers of requests, pings and what TLS adds.
	Upkeep int64
}

// Minus returns what was said between two moments.
func (t Traffic) Minus(before Traffic) Traffic {
	return Traffic{
		Gossip: t.Gossip - before.Gossip, Calls: t.Calls - before.Calls, Spread: t.Spread - before.Spread,
		Repair: t.Repair - before.Repair, Work: t.Work - before.Work, Upkeep: t.Upkeep - before.Upkeep,
	}
}

// Traffic returns what peers have said so far.
func (g *Grid) Traffic() Traffic {
	m := &g.meter
	t := Traffic{
		Gossip: m.gossip.Load(), Calls: m.calls.Load(), Spread: m.spread.Load(), Repair: m.repair.Load(), Work: m.work.Load(),
	}
	t.Upkeep = t.Calls - t.Spread - t.Repair - t.Work
	return t
}

// meter counts the traffic of a grid. Each stream and each call is counted where it is opened, both ways. It is a
// stats.Handler.
type meter struct{ gossip, calls, spread, repair, work atomic.Int64 }

// packets counts the packets of one peer.
type packets struct {
	net.PacketConn
	m *meter
}

func (p packets) WriteTo(b []byte, to net.Addr) (int, error) {
	n, err := p.PacketConn.WriteTo(b, to)
	p.m.gossip.Add(int64(n))
	return n, err
}

// dial counts what the streams carry that are dialled.
func (m *meter) dial(dial func(context.Context, string) (net.Conn, error)) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		c, err := dial(ctx, address)
		if err != nil {
			return nil, err
		}
		return &metered{Conn: c, m: m}, nil
	}
}

// metered is a stream that is counted. Its first piece is the greeting of TLS, which names the protocol openly.
type metered struct {
	net.Conn
	m     *meter
	first sync.Once
	count *atomic.Int64
}

func (c *metered) Write(b []byte) (int, error) {
	c.first.Do(func() {
		c.count = &c.m.calls
		if bytes.Contains(b, []byte("idlegrid-gossip/")) {
			c.count = &c.m.gossip
		}
	})
	n, err := c.Conn.Write(b)
	c.count.Add(int64(n))
	return n, err
}

func (c *metered) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 { // who dials speaks first, so that it is known what this is
		c.count.Add(int64(n))
	}
	return n, err
}

type countKey struct{}

// TagRPC implements stats.Handler. Of a call it chooses the count.
func (m *meter) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	count := &m.work
	switch duty, _ := pprof.Label(ctx, node.DutyLabel); {
	case duty == node.DutyCopies:
		count = &m.repair
	case strings.HasPrefix(info.FullMethodName, "/grid.v1.Records/"):
		count = &m.spread
	}
	return context.WithValue(ctx, countKey{}, count)
}

// HandleRPC implements stats.Handler.
func (m *meter) HandleRPC(ctx context.Context, s stats.RPCStats) {
	n := 0
	switch s := s.(type) {
	case *stats.OutPayload:
		n = s.WireLength
	case *stats.InPayload:
		n = s.WireLength
	case *stats.InHeader:
		n = s.WireLength
	case *stats.InTrailer:
		n = s.WireLength
	}
	ctx.Value(countKey{}).(*atomic.Int64).Add(int64(n))
}

// TagConn implements stats.Handler.
func (m *meter) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// HandleConn implements stats.Handler.
func (m *meter) HandleConn(context.Context, stats.ConnStats) {}
