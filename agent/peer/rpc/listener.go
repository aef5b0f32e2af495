package rpc

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
)

// Caps on what others may hold here. A pool has at most 1,000 peers with one or two connections each.
const (
	maxHandshakes       = 128 // at once; the others wait in the system's queue
	maxHandshakesByHost = 16
	maxConnections      = 2048
	maxByIdentity       = 32 // a submitter may run some gridctl side by side
	maxStrangers        = 64 // connections of anonymous and expired callers
	maxStrangersByHost  = 8
	// memberlist buffers up to 20 MiB of a stream before it looks at it.
	maxGossip       = 64
	maxGossipByHost = 4

	// acceptRetry is how long to wait after an error of the system, such as no file descriptors left.
	acceptRetry = time.Second
)

// ListenOptions are what a listener needs.
type ListenOptions struct {
	Identity func() *identity.Identity // the current one; asked at each handshake
	Accept   identity.Accept           // whom to let in beside valid certificates
	// Met is told of each handshake of an agent or coordinator with a valid certificate. It must not block; nil
	// means nobody.
	Met func(tls.ConnectionState)
	Log *slog.Logger
}

// Listener owns a TCP listener and shares its connections out. Close joins all its goroutines.
type Listener struct {
	inner  net.Listener
	o      ListenOptions
	conf   *tls.Config
	limits limits
	drops  drops

	grpc   chan net.Conn
	gossip chan net.Conn
	slots  chan struct{} // one for each handshake

	ctx    context.Context // until Close
	cancel context.CancelFunc
	wg     sync.WaitGroup
	close  sync.Once
}

// Listen starts to take connections from l, which it owns from now on.
func Listen(l net.Listener, o ListenOptions) *Listener {
	conf := identity.ServerTLS(o.Identity, o.Accept)
	conf.NextProtos = []string{protocolGRPC, protocolGossip}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Listener{
		inner: l, o: o, conf: conf,
		limits: limits{held: map[string]int{}},
		drops:  drops{log: o.Log},
		grpc:   make(chan net.Conn),
		gossip: make(chan net.Conn),
		slots:  make(chan struct{}, maxHandshakes),
		ctx:    ctx, cancel: cancel,
	}
	s.wg.Go(s.accept)
	return s
}

// Addr returns the address that it listens at.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Gossip returns the gossip streams of agents and the coordinator. The receiver closes them; the channel is
// closed by Close. A stream that nobody takes within the time of a handshake is dropped.
func (l *Listener) Gossip() <-chan net.Conn { return l.gossip }

// GRPC returns a listener for the server that NewServer makes. Closing it leaves gossip alone.
func (l *Listener) GRPC() net.Listener {
	return &grpcListener{from: l, closed: make(chan struct{})}
}

// Close stops listening, drops connections that nobody has taken yet, and returns when its goroutines have
// ended. Connections that were taken stay open. A second call does nothing.
func (l *Listener) Close() error {
	var err error
	l.close.Do(func() {
		l.cancel()
		err = l.inner.Close()
		l.wg.Wait()
		close(l.gossip)
	})
	return err
}

func (l *Listener) accept() {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.ctx.Done():
			return
		}
		c, err := l.inner.Accept()
		if err == nil {
			l.wg.Go(func() {
				defer func() { <-l.slots }()
				l.serve(c)
			})
			continue
		}
		<-l.slots
		if l.ctx.Err() != nil {
			return
		}
		l.o.Log.Warn("cannot accept connections", "error", err)
		select {
		case <-time.After(acceptRetry):
		case <-l.ctx.Done():
		}
	}
}

// serve takes a connection from accepted to handed over.
func (l *Listener) serve(raw net.Conn) {
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTimeout)
	defer cancel()
	c, to, err := l.handshake(ctx, raw)
	if err != nil {
		l.drop(raw, err)
		return
	}
	select {
	case to <- c:
	case <-ctx.Done():
		c.release()
		l.drop(raw, jobs.Errorf(jobs.Unavailable, "nobody takes connections: %w", ctx.Err()))
	}
}

// drop closes the connection below TLS, whose own Close would wait for a peer that does not read.
func (l *Listener) drop(raw net.Conn, err error) {
	_ = raw.Close() // it is of no use either way
	l.drops.add(raw.RemoteAddr(), err)
}

// handshake returns the secured connection and where it goes.
func (l *Listener) handshake(ctx context.Context, raw net.Conn) (*secured, chan<- net.Conn, error) {
	host := hostOf(raw.RemoteAddr())
	done, full := l.limits.take(limit{"handshakes of " + host, maxHandshakesByHost})
	if full != "" {
		return nil, nil, jobs.Errorf(jobs.Exhausted, "too many %s", full)
	}
	defer done()
	c := tls.Server(raw, l.conf)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, nil, jobs.Errorf(jobs.Denied, "TLS handshake: %w", err)
	}
	state := c.ConnectionState()
	caller, err := l.o.Accept.Caller(state, l.o.Identity().Root)
	if err != nil {
		return nil, nil, err
	}
	if l.o.Met != nil && mayGossip(caller) {
		l.o.Met(state)
	}
	var to chan<- net.Conn
	var caps []limit
	switch state.NegotiatedProtocol {
	case protocolGRPC:
		to, caps = l.grpc, callCaps(caller, host)
	case protocolGossip:
		if !mayGossip(caller) {
			return nil, nil, jobs.Errorf(jobs.Denied, "gossip is not for the role %s", caller.Role)
		}
		to, caps = l.gossip, []limit{{"gossip streams", maxGossip}, {"gossip streams of " + host, maxGossipByHost}}
	default:
		return nil, nil, jobs.Errorf(jobs.Invalid, "no known protocol in the TLS handshake")
	}
	release, full := l.limits.take(caps...)
	if full != "" {
		return nil, nil, jobs.Errorf(jobs.Exhausted, "too many %s", full)
	}
	return &secured{Conn: c, caller: caller, release: release}, to, nil
}

func mayGossip(c identity.Caller) bool {
	return !c.Expired && (c.Role == peer.Agent || c.Role == peer.Coordinator)
}

func callCaps(c identity.Caller, host string) []limit {
	if c.Role == peer.Anonymous || c.Expired {
		return []limit{{"strangers' connections", maxStrangers}, {"strangers' connections of " + host, maxStrangersByHost}}
	}
	return []limit{{"connections", maxConnections}, {"connections of " + c.ID.String(), maxByIdentity}}
}

// grpcListener hands gRPC its connections.
type grpcListener struct {
	from   *Listener
	closed chan struct{}
	once   sync.Once
}

// Accept implements net.Listener.
func (g *grpcListener) Accept() (net.Conn, error) {
	select {
	case c := <-g.from.grpc:
		return c, nil
	case <-g.closed:
		return nil, net.ErrClosed
	case <-g.from.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (g *grpcListener) Close() error {
	g.once.Do(func() { close(g.closed) })
	return nil
}

// Addr implements net.Listener.
func (g *grpcListener) Addr() net.Addr { return g.from.Addr() }
