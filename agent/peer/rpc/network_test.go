package rpc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
)

// network is pipes between named hosts, for virtual time.
type network struct {
	mu    sync.Mutex
	hosts map[string]*host
	dials int
}

// host is a listener for pipes.
type host struct {
	name   string
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type address string

func (a address) Network() string { return "pipe" }
func (a address) String() string  { return string(a) }

type pipe struct {
	net.Conn
	remote address
}

func (p pipe) RemoteAddr() net.Addr { return p.remote }

func newNetwork() *network { return &network{hosts: map[string]*host{}} }

func (n *network) listen(name string) *host {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := &host{name: name, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.hosts[name] = h
	return h
}

// from returns a dial function for a host's name.
func (n *network) from(name string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		n.mu.Lock()
		h := n.hosts[addr]
		n.dials++
		n.mu.Unlock()
		if h == nil {
			return nil, errors.New("connection refused")
		}
		near, far := net.Pipe()
		select {
		case h.conns <- pipe{far, address(name)}:
			return pipe{near, address(addr)}, nil
		case <-h.closed:
			return nil, errors.New("connection refused")
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (n *network) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

func (h *host) Addr() net.Addr { return address(h.name) }

func always(id *identity.Identity) func() *identity.Identity {
	return func() *identity.Identity { return id }
}

// renewing returns the identity, renewed at half life as a daemon does it.
func renewing(t *testing.T, grid *identitytest.Grid, id *identity.Identity) func() *identity.Identity {
	var mu sync.Mutex
	return func() *identity.Identity {
		mu.Lock()
		defer mu.Unlock()
		if time.Now().After(id.RenewAt()) {
			id = reissue(t, grid, id)
		}
		return id
	}
}

func reissue(t *testing.T, grid *identitytest.Grid, id *identity.Identity) *identity.Identity {
	request, err := identity.Request(id.Key)
	if err != nil {
		t.Error(err)
		return id
	}
	c := id.Caller()
	chain, err := grid.Issue(request, identity.Grant{Role: c.Role, Class: c.Class, Owner: c.Owner}, identity.CertificateLife)
	if err != nil {
		t.Error(err)
		return id
	}
	renewed, err := identity.New(id.Key, chain, grid.Root())
	if err != nil {
		t.Error(err)
		return id
	}
	return renewed
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// served is a listener with a gRPC server on it.
type served struct {
	*rpc.Listener
	id    *identity.Identity
	ended *ended
}

// ended counts calls that ended, by method and code.
type ended struct {
	mu    sync.Mutex // guards calls
	calls map[string]int
}

func (e *ended) answered(method string, code codes.Code) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if code == codes.Canceled {
		code = codes.DeadlineExceeded // a server hears of a caller's time in two ways, whichever comes first
	}
	e.calls[method+" "+code.String()]++
}

func (e *ended) want(t *testing.T, want map[string]int) {
	t.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	if !maps.Equal(e.calls, want) {
		t.Errorf("calls that ended: %v, expected %v", e.calls, want)
	}
}

// serve runs a server until the test ends.
func serve(t *testing.T, l net.Listener, o rpc.ListenOptions, register func(*grpc.Server)) served {
	t.Helper()
	o.Log = quiet()
	listener := rpc.Listen(l, o)
	e := &ended{calls: map[string]int{}}
	server := rpc.NewServer(o.Log, rpc.Told{Answered: e.answered})
	register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener.GRPC()) }()
	t.Cleanup(func() {
		server.Stop()
		if err := listener.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return served{listener, o.Identity(), e}
}

// dialer returns a dialer that the test closes.
func dialer(t *testing.T, o rpc.DialOptions) *rpc.Dialer {
	t.Helper()
	d := rpc.NewDialer(o)
	t.Cleanup(d.Close)
	return d
}

func connect(t *testing.T, d *rpc.Dialer, addr string, expect jobs.KeyID) grpc.ClientConnInterface {
	t.Helper()
	c, err := d.Conn(addr, expect)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func closing(t *testing.T, c io.Closer) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func coordinator(g *identitytest.Grid) *identity.Identity { return g.Role(peer.Coordinator, "") }
