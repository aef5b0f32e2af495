package gossip

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"idlegrid/jobs"
)

const (
	// maxPacket is the largest UDP datagram. A smaller buffer would make Windows report an error for a
	// longer packet.
	maxPacket = 64 << 10
	// maxStream bounds what one stream may bring: a push-pull of 1,000 members takes 0.5 MB, while
	// memberlist would buffer 20 MB before it looks at the authentication.
	maxStream = 4 << 20
	// readPause keeps a packet connection that fails and fails from taking the CPU.
	readPause = 100 * time.Millisecond
)

// transport lets memberlist use the connections that the caller gave.
type transport struct {
	g       *Gossip
	packets chan *memberlist.Packet
	streams chan net.Conn
	work    sync.WaitGroup

	mu   sync.Mutex // guards everything below
	open map[*stream]struct{}
	down bool
}

func newTransport(g *Gossip) *transport {
	t := &transport{
		g: g, packets: make(chan *memberlist.Packet), streams: make(chan net.Conn), open: make(map[*stream]struct{}),
	}
	t.work.Go(t.readPackets)
	t.work.Go(t.acceptStreams)
	return t
}

// FinalAdvertiseAddr returns the address that others reach us at.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	a := t.g.opts.Advertise
	return a.Addr().AsSlice(), int(a.Port()), nil
}

// PacketCh returns the packets that arrive.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// StreamCh returns the streams that others open.
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// readPackets ends when Shutdown closes the connection. While memberlist is busy nothing is read, and the
// system drops what its own buffer does not hold.
func (t *transport) readPackets() {
	buf := make([]byte, maxPacket)
	for {
		n, from, err := t.g.opts.Packets.ReadFrom(buf)
		now := time.Now()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // such as Windows' word that an earlier packet found no listener
			if !t.pause(readPause) {
				return
			}
			continue
		}
		if n == 0 {
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), buf[:n]...), From: from, Timestamp: now}
		select {
		case t.packets <- p:
		case <-t.g.ctx.Done():
			return
		}
	}
}

func (t *transport) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.g.ctx.Done():
		return false
	}
}

// acceptStreams hands streams on one by one; memberlist does not expect a channel that closes.
func (t *transport) acceptStreams() {
	for {
		select {
		case <-t.g.ctx.Done():
			return
		case conn, ok := <-t.g.opts.Streams:
			if !ok {
				return
			}
			s, err := t.track(conn)
			if err != nil {
				return // track closed it
			}
			select {
			case t.streams <- s:
			case <-t.g.ctx.Done():
				return // Shutdown closes it
			}
		}
	}
}

// WriteTo sends a packet.
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.g.opts.Packets.WriteTo(b, net.UDPAddrFromAddrPort(to))
	return time.Now(), err
}

// WriteToAddress sends a packet; who is there shows when it can decrypt it.
func (t *transport) WriteToAddress(b []byte, addr memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, addr.Addr)
}

// DialTimeout opens a stream to whichever peer is there.
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

// DialAddressTimeout opens a stream to the agent in the member's name, or to any peer when there is none.
func (t *transport) DialAddressTimeout(addr memberlist.Address, timeout time.Duration) (net.Conn, error) {
	var expect jobs.AgentID
	if addr.Name != "" {
		id, _, err := parseName(addr.Name)
		if err != nil {
			return nil, err
		}
		expect = id
	}
	ctx, cancel := context.WithTimeout(t.g.ctx, timeout)
	defer cancel()
	conn, err := t.g.opts.Dial(ctx, addr.Addr, expect)
	if err != nil {
		return nil, err
	}
	return t.track(conn)
}

// Shutdown closes everything that is open and waits for the goroutines of the transport.
func (t *transport) Shutdown() error {
	t.g.cancel()
	t.mu.Lock()
	t.down = true
	open := make([]*stream, 0, len(t.open))
	for s := range t.open {
		open = append(open, s)
	}
	t.mu.Unlock()
	for _, s := range open {
		_ = s.Close() // what a peer has not read by now is lost either way
	}
	err := ignoreClosed(t.g.opts.Packets.Close())
	t.work.Wait()
	return err
}

func (t *transport) track(conn net.Conn) (net.Conn, error) {
	s := &stream{Conn: conn, limited: io.LimitReader(conn, maxStream), t: t}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.down {
		return nil, errors.Join(net.ErrClosed, conn.Close())
	}
	t.open[s] = struct{}{}
	return s, nil
}

// stream is a connection that ends after maxStream bytes and with its transport.
type stream struct {
	net.Conn
	limited io.Reader
	t       *transport
}

func (s *stream) Read(b []byte) (int, error) { return s.limited.Read(b) }

func (s *stream) Close() error {
	s.t.mu.Lock()
	delete(s.t.open, s)
	s.t.mu.Unlock()
	return s.Conn.Close()
}
