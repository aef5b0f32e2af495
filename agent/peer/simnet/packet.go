package simnet

import (
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

const (
	maxPacket  = 65507 // what UDP carries
	maxPackets = 1024  // that wait to be read; the next ones are dropped
)

// PacketConn is a packet port. It is a net.PacketConn.
type PacketConn struct {
	host *Host
	addr netip.AddrPort

	st       *state // guards everything below
	queue    []packet
	deadline time.Time
	closed   bool
}

type packet struct {
	data []byte
	from netip.AddrPort
}

// ReadFrom waits for a packet. What does not fit into b is lost.
func (c *PacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	c.st.Lock()
	defer c.st.Unlock()
	for {
		switch {
		case c.closed:
			return 0, nil, c.opError("read", net.ErrClosed)
		case len(c.queue) > 0 && !past(c.deadline):
			p := c.queue[0]
			c.queue = c.queue[1:]
			return copy(b, p.data), net.UDPAddrFromAddrPort(p.from), nil
		}
		if err := c.st.wait(c.deadline); err != nil {
			return 0, nil, c.opError("read", err)
		}
	}
}

// WriteTo sends a packet to a *net.UDPAddr. It never waits, and does not tell whether the packet arrives.
func (c *PacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, c.opError("write", syscall.EINVAL)
	}
	if len(b) > maxPacket {
		return 0, c.opError("write", syscall.EMSGSIZE)
	}
	c.st.Lock()
	closed := c.closed
	c.st.Unlock()
	if closed {
		return 0, c.opError("write", net.ErrClosed)
	}
	target := to.AddrPort()
	target = netip.AddrPortFrom(target.Addr().Unmap(), target.Port())
	p := packet{data: slices.Clone(b), from: c.addr}
	c.host.sent.Add(int64(len(b)))
	times, behind := c.host.net.copies()
	if times > 0 {
		delay := c.host.net.delay(c.host.ip, target.Addr())
		time.AfterFunc(delay, func() { c.host.deliver(target, p) })
		if times > 1 {
			time.AfterFunc(delay+behind, func() { c.host.deliver(target, p) })
		}
	}
	return len(b), nil
}

// deliver puts a packet that this host sent into the port where it belongs.
func (h *Host) deliver(to netip.AddrPort, p packet) {
	other, ok := h.net.reach(h, to.Addr())
	if !ok {
		return
	}
	other.mu.Lock()
	c := other.packets[to.Port()]
	other.mu.Unlock()
	if c == nil {
		return
	}
	c.st.Lock()
	defer c.st.Unlock()
	if !c.closed && len(c.queue) < maxPackets {
		c.queue = append(c.queue, p)
		c.st.broadcast()
	}
}

// Close frees the port.
func (c *PacketConn) Close() error {
	c.st.Lock()
	defer c.st.Unlock()
	if c.closed {
		return c.opError("close", net.ErrClosed)
	}
	c.closed = true
	c.st.broadcast()
	c.host.mu.Lock()
	defer c.host.mu.Unlock()
	delete(c.host.packets, c.addr.Port())
	delete(c.host.open, c)
	return nil
}

// LocalAddr returns the port's address.
func (c *PacketConn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.addr) }

// SetDeadline is SetReadDeadline: writing never waits.
func (c *PacketConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline ends ReadFrom at t; zero is never.
func (c *PacketConn) SetReadDeadline(t time.Time) error {
	c.st.Lock()
	defer c.st.Unlock()
	c.deadline = t
	c.st.broadcast()
	return nil
}

// SetWriteDeadline does nothing: writing never waits.
func (c *PacketConn) SetWriteDeadline(time.Time) error { return nil }

func (c *PacketConn) opError(op string, err error) error {
	return &net.OpError{Op: op, Net: "udp", Source: c.LocalAddr(), Err: err}
}
