package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"

	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
)

const (
	// idleTimeout is when a connection without calls is closed. An exchange every 15 s keeps its own open.
	idleTimeout = 5 * time.Minute
	// forgetAfter is when a peer without calls leaves the pool, with what gRPC keeps for it.
	forgetAfter = 2 * idleTimeout
	// readBuffer is how much of a connection is read at once: more never comes, since a TLS record has 16 KiB at most (RFC
	// 8446, 5.1).
	readBuffer = 16 << 10
)

// DialOptions say who dials and whom it trusts.
type DialOptions struct {
	// Identity returns the current one, or nil for an anonymous caller. It is asked at each handshake.
	Identity func() *identity.Identity
	// Root is the grid's root certificate. A newcomer has none yet and sets Pin, of its token, instead; it
	// can reach the coordinator only.
	Root []byte
	Pin  jobs.Digest
	// Dial makes connections; nil means TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// Met is told of each handshake in which the peer proved who it is. It must not block; nil means nobody.
	Met func(tls.ConnectionState)
	// Calls is told of each call that is made, and of its bytes; nil means nobody.
	Calls stats.Handler
}

// Dialer keeps one connection to each peer that was called lately, and makes gossip streams. It is safe for
// concurrent use.
type Dialer struct {
	o      DialOptions
	ctx    context.Context // until Close
	cancel context.CancelFunc
	dials  sync.WaitGroup

	mu     sync.Mutex // guards everything below
	closed bool
	pool   map[target]*pooled
	swept  time.Time
}

// target names a pooled connection: a connection to an address serves only those who expect the same peer.
type target struct {
	addr   string
	expect jobs.KeyID
}

// pooled is a connection that comes and goes as gRPC sees fit.
type pooled struct {
	cc   *grpc.ClientConn
	used time.Time             // guarded by the dialer's mu
	last atomic.Pointer[error] // why it could not connect; nil after it could
}

// NewDialer returns a dialer with an empty pool.
func NewDialer(o DialOptions) *Dialer {
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, addr string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Dialer{o: o, ctx: ctx, cancel: cancel, pool: map[target]*pooled{}}
}

// Conn returns a connection to the peer with the given key ID at addr (zero: any agent or the coordinator). It
// dials with the first call, may be kept and used for ever, and returns errors of package jobs: whatever
// keeps a call from reaching the peer is of kind Unavailable. There is an error here only after Close.
func (d *Dialer) Conn(addr string, expect jobs.KeyID) (grpc.ClientConnInterface, error) {
	c := &conn{dialer: d, target: target{addr, expect}}
	_, err := d.pooled(c.target)
	return c, err
}

// Stream dials a gossip stream to the peer with the given key ID (zero: any agent or the coordinator).
func (d *Dialer) Stream(ctx context.Context, addr string, expect jobs.KeyID) (net.Conn, error) {
	return d.dial(ctx, target{addr, expect}, protocolGossip)
}

// Close closes all pooled connections, which fails their calls, and returns when no dial is under way. Gossip
// streams stay open. A second call does nothing.
func (d *Dialer) Close() {
	d.mu.Lock()
	pool := d.pool
	d.closed, d.pool = true, nil
	d.mu.Unlock()
	d.cancel()
	for _, p := range pool {
		_ = p.cc.Close() // says only that it was closed before
	}
	d.dials.Wait()
}

func errClosed() error { return jobs.Errorf(jobs.Unavailable, "this peer is shutting down") }

// pooled returns the target's connection and keeps it from being forgotten.
func (d *Dialer) pooled(t target) (*pooled, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, errClosed()
	}
	now := time.Now()
	p := d.pool[t]
	if p == nil {
		p = &pooled{}
		var err error
		// gRPC shall not read the address: it may come from a stranger, and the dial function has it.
		if p.cc, err = grpc.NewClient("passthrough:///peer", d.callOptions(t, p)...); err != nil {
			return nil, jobs.Errorf(jobs.Internal, "make a gRPC connection: %w", err)
		}
		d.pool[t] = p
	}
	p.used = now
	d.sweep(now)
	return p, nil
}

// sweep forgets peers that nobody calls any more. One with a call under way is not idle.
func (d *Dialer) sweep(now time.Time) {
	if now.Sub(d.swept) < time.Minute {
		return
	}
	d.swept = now
	for t, p := range d.pool {
		if now.Sub(p.used) > forgetAfter && p.cc.GetState() == connectivity.Idle {
			_ = p.cc.Close() // says only that it was closed before
			delete(d.pool, t)
		}
	}
}

func (d *Dialer) callOptions(t target, p *pooled) []grpc.DialOption {
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(handshaken{}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := d.dial(ctx, t, protocolGRPC)
			if err != nil {
				p.last.Store(&err)
				return nil, err
			}
			p.last.Store(nil)
			return &secured{Conn: c}, nil
		}),
		grpc.WithIdleTimeout(idleTimeout),
		grpc.WithReadBufferSize(readBuffer),
		grpc.WithDisableServiceConfig(),
		grpc.WithMaxHeaderListSize(maxHeaders),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		// A PC that comes back is found within an exchange period, not within gRPC's default of 2 min.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 15 * time.Second},
			MinConnectTimeout: handshakeTimeout,
		}),
		// A call to a PC that went to sleep fails within 45 s even if its caller set no deadline.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 15 * time.Second}),
	}
	if d.o.Calls != nil {
		options = append(options, grpc.WithStatsHandler(d.o.Calls))
	}
	return options
}

// dial returns a TLS connection to the target, for one protocol.
func (d *Dialer) dial(ctx context.Context, t target, protocol string) (net.Conn, error) {
	if !d.begin() {
		return nil, errClosed()
	}
	defer d.dials.Done()
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	defer context.AfterFunc(d.ctx, cancel)()
	raw, err := d.o.Dial(ctx, t.addr)
	if err != nil {
		return nil, unreachable(t, err)
	}
	conf := d.conf(t)
	conf.NextProtos = []string{protocol}
	c, err := secure(ctx, raw, conf)
	if err != nil {
		_ = raw.Close() // it is of no use either way
		return nil, unreachable(t, err)
	}
	return c, nil
}

// begin counts a dial, unless the dialer is closed.
func (d *Dialer) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.dials.Add(1)
	return true
}

func (d *Dialer) conf(t target) *tls.Config {
	if d.o.Root == nil {
		return identity.NewcomerTLS(d.o.Pin)
	}
	var id *identity.Identity
	if d.o.Identity != nil {
		id = d.o.Identity()
	}
	conf := identity.ClientTLS(id, d.o.Root, t.expect)
	if verify := conf.VerifyConnection; d.o.Met != nil {
		conf.VerifyConnection = func(state tls.ConnectionState) error {
			err := verify(state)
			if err == nil {
				d.o.Met(state)
			}
			return err
		}
	}
	return conf
}

// unreachable says that the peer could not be reached; the hint of the reason stays. Where the peer closed the
// connection in the middle of the handshake the reason is told but not wrapped: whoever reads a stream takes io.EOF
// for its good end.
func unreachable(t target, err error) error {
	if errors.Is(err, io.EOF) {
		return jobs.Errorf(jobs.Unavailable, "reach %s: it closed the connection: %s", t.addr, err.Error())
	}
	return jobs.Errorf(jobs.Unavailable, "reach %s: %w", t.addr, err)
}
