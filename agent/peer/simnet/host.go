package simnet

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	firstPort = 40000 // of those given out for port 0
	backlog   = 128   // streams that wait for Accept
	dialLimit = 2 * time.Minute
)

// Host is a machine with one IP address.
type Host struct {
	net *Network
	ip  netip.Addr

	mu        sync.Mutex // guards everything below; nothing waits while it is held
	down      bool
	nextPort  uint16
	packets   map[uint16]*PacketConn
	listeners map[uint16]*Listener
	open      map[io.Closer]struct{} // what the power cut closes
	sent      atomic.Int64           // bytes of packets and streams
}

func newHost(n *Network, ip netip.Addr) *Host {
	return &Host{
		net: n, ip: ip, nextPort: firstPort, packets: make(map[uint16]*PacketConn),
		listeners: make(map[uint16]*Listener), open: make(map[io.Closer]struct{}),
	}
}

// ListenPacket opens a packet port; 0 takes a free one.
func (h *Host) ListenPacket(port uint16) (*PacketConn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	port, err := pick(h, h.packets, port)
	if err != nil {
		return nil, err
	}
	c := &PacketConn{host: h, addr: netip.AddrPortFrom(h.ip, port), st: newState()}
	h.packets[port] = c
	h.open[c] = struct{}{}
	return c, nil
}

// Listen opens a stream port; 0 takes a free one.
func (h *Host) Listen(port uint16) (*Listener, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	port, err := pick(h, h.listeners, port)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		host: h, addr: netip.AddrPortFrom(h.ip, port), queue: make(chan *conn, backlog), done: make(chan struct{}),
	}
	h.listeners[port] = l
	h.open[l] = struct{}{}
	return l, nil
}

// pick chooses a port that is not taken. The host's lock is held.
func pick[T any](h *Host, taken map[uint16]T, port uint16) (uint16, error) {
	if h.down {
		return 0, net.ErrClosed
	}
	if port == 0 {
		port = h.freshPort()
	}
	if _, ok := taken[port]; ok {
		return 0, fmt.Errorf("listen %s port %d: %w", h.ip, port, syscall.EADDRINUSE)
	}
	return port, nil
}

// freshPort returns the next port number. The host's lock is held. After 25,000 it begins again; only a port
// that listens since then could be in the way.
func (h *Host) freshPort() uint16 {
	if h.nextPort < firstPort {
		h.nextPort = firstPort
	}
	h.nextPort++
	return h.nextPort - 1
}

// Dial opens a stream to ip:port. Where nobody listens it fails at once; where the way is cut or the host
// is off it tries until ctx ends, two minutes at most.
func (h *Host) Dial(ctx context.Context, address string) (net.Conn, error) {
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	wait := h.net.delay(h.ip, to.Addr())
	for {
		if err := sleep(ctx, wait); err != nil {
			return nil, h.opError("dial", to, err)
		}
		if h.isDown() {
			return nil, h.opError("dial", to, net.ErrClosed)
		}
		if other, ok := h.net.reach(h, to.Addr()); ok && h.net.connected(other, h) {
			c, err := h.connect(other, to)
			if err != nil {
				return nil, h.opError("dial", to, err)
			}
			return c, nil
		}
		wait = retry
	}
}

// connect makes both ends and puts the far one into the queue of whoever listens.
func (h *Host) connect(other *Host, to netip.AddrPort) (*conn, error) {
	other.mu.Lock()
	l := other.listeners[to.Port()]
	other.mu.Unlock()
	if l == nil {
		return nil, syscall.ECONNREFUSED
	}
	h.mu.Lock()
	from := netip.AddrPortFrom(h.ip, h.freshPort())
	h.mu.Unlock()
	near, far := newConns(h, other, from, to)
	if !h.keep(near) || !other.keep(far) || !l.offer(far) {
		h.forget(near)
		other.forget(far)
		return nil, syscall.ECONNREFUSED
	}
	return near, nil
}

func (h *Host) opError(op string, to netip.AddrPort, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

func (h *Host) isDown() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.down
}

func (h *Host) keep(c io.Closer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.down {
		h.open[c] = struct{}{}
	}
	return !h.down
}

func (h *Host) forget(c io.Closer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.open, c)
}

func (h *Host) stop() {
	h.mu.Lock()
	h.down = true
	open := make([]io.Closer, 0, len(h.open))
	for c := range h.open {
		open = append(open, c)
	}
	h.mu.Unlock()
	for _, c := range open {
		_ = c.Close() // only a second Close fails
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Listener accepts streams. It is a net.Listener.
type Listener struct {
	host  *Host
	addr  netip.AddrPort
	queue chan *conn
	done  chan struct{}
	once  sync.Once
}

// Accept waits for a stream.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case <-l.done:
		return nil, l.host.opError("accept", l.addr, net.ErrClosed)
	default:
	}
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, l.host.opError("accept", l.addr, net.ErrClosed)
	}
}

// offer queues a stream for Accept, and reports whether there was room.
func (l *Listener) offer(c *conn) bool {
	select {
	case l.queue <- c:
	default:
		return false
	}
	select {
	case <-l.done: // Close may have emptied the queue before
		return c.Close() == nil
	default:
		return true
	}
}

// Close ends Accept and the streams that it did not take.
func (l *Listener) Close() error {
	l.once.Do(func() {
		l.host.mu.Lock()
		delete(l.host.listeners, l.addr.Port())
		delete(l.host.open, l)
		l.host.mu.Unlock()
		close(l.done)
		for {
			select {
			case c := <-l.queue:
				_ = c.Close() // only a second Close fails
			default:
				return
			}
		}
	})
	return nil
}

// Addr returns the port's address.
func (l *Listener) Addr() net.Addr { return net.TCPAddrFromAddrPort(l.addr) }
