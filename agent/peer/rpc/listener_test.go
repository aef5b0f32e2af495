package rpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
)

const list = "/grid.v1.Members/List"

// mesh is one peer at "p" and a grid to make callers from.
type mesh struct {
	t    *testing.T
	grid *identitytest.Grid
	net  *network
	peer served
}

func newMesh(t *testing.T, accept identity.Accept) *mesh {
	t.Helper()
	m := &mesh{t: t, grid: identitytest.NewGrid(t), net: newNetwork()}
	m.peer = serve(t, m.net.listen("p"), rpc.ListenOptions{
		Identity: renewing(t, m.grid, coordinator(m.grid)), Accept: accept,
	}, registerAll)
	return m
}

func (m *mesh) dialer(id *identity.Identity, from string) *rpc.Dialer {
	m.t.Helper()
	return dialer(m.t, rpc.DialOptions{Identity: always(id), Root: m.grid.Root(), Dial: m.net.from(from)})
}

// stream dials a gossip stream; it may yet be refused.
func (m *mesh) stream(id *identity.Identity, from string) net.Conn {
	m.t.Helper()
	c, err := m.dialer(id, from).Stream(m.t.Context(), "p", m.peer.id.ID())
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// taken reports whether the listener hands the other end of a stream out, and returns that end.
func (m *mesh) taken() (net.Conn, bool) {
	m.t.Helper()
	synctest.Wait()
	select {
	case c, ok := <-m.peer.Gossip():
		return c, ok
	default:
		return nil, false
	}
}

func TestGossipStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{Anonymous: true, Expired: true})
		expired := m.grid.Agent()
		time.Sleep(identity.CertificateLife + time.Hour)
		near := m.stream(m.grid.Agent(), "a:1")
		far, ok := m.taken()
		if !ok {
			t.Fatal("an agent's stream was refused")
		}
		go func() { _, _ = near.Write([]byte("hello")) }()
		got := make([]byte, 5)
		if _, err := io.ReadFull(far, got); err != nil || string(got) != "hello" {
			t.Errorf("%q, %v", got, err)
		}
		_ = far.Close() // nobody reads its alert
		for name, id := range map[string]*identity.Identity{
			"a submitter": m.grid.Role(peer.Submitter, "a"), "an operator": m.grid.Role(peer.Operator, "a"),
			"an expired agent": expired, "a stranger": nil,
		} {
			refused := m.stream(id, "b:1")
			if _, ok := m.taken(); ok {
				t.Errorf("a stream of %s was taken", name)
			}
			if _, err := refused.Read(got); err == nil {
				t.Error("the stream is open")
			}
		}
	})
}

func TestGossipCaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{})
		agent := m.grid.Agent()
		var held []net.Conn
		open := func(host, port int, want bool) {
			t.Helper()
			m.stream(agent, fmt.Sprintf("10.0.0.%d:%d", host, port))
			c, ok := m.taken()
			if ok != want {
				t.Fatalf("stream %d of host %d, with %d open: taken %v", port, host, len(held), ok)
			}
			if ok {
				held = append(held, c)
			}
		}
		for host := 1; host <= 16; host++ {
			for port := 1; port <= 4; port++ {
				open(host, port, true)
			}
			open(host, 5, false)
		}
		open(17, 1, false)
		_ = held[0].Close() // nobody reads its alert
		_ = held[0].Close() // a second time must not give a second place
		open(17, 2, true)
		open(18, 1, false)
		for _, c := range held {
			_ = c.Close()
		}
	})
}

func TestGossipThatNobodyTakesIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{})
		for range 5 { // more than a host may hold
			c := m.stream(m.grid.Agent(), "a:1")
			start := time.Now()
			if _, err := c.Read(make([]byte, 1)); err == nil || time.Since(start) > 11*time.Second {
				t.Errorf("after %s: %v", time.Since(start), err)
			}
		}
	})
}

func TestSilentConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{})
		ended := make(chan time.Duration, 17)
		start := time.Now()
		for i := range 17 {
			c, err := m.net.from(fmt.Sprintf("10.0.0.1:%d", i))(t.Context(), "p")
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				_, _ = c.Read(make([]byte, 1))
				ended <- time.Since(start)
			}()
		}
		if after := <-ended; after > time.Second {
			t.Errorf("the 17th of one host was held for %s", after)
		}
		c := connect(t, m.dialer(m.grid.Agent(), "10.0.0.2:1"), "p", m.peer.id.ID())
		if err := call(t.Context(), c, list); err != nil || time.Since(start) > time.Second {
			t.Errorf("another host waits for them: %v after %s", err, time.Since(start))
		}
		for range 16 {
			if after := <-ended; after != 10*time.Second {
				t.Errorf("a silent connection was dropped after %s", after)
			}
		}
	})
}

func TestConnectionCaps(t *testing.T) {
	for name, c := range map[string]struct {
		most int
		id   func(*mesh) *identity.Identity
	}{
		"strangers of a host": {8, func(*mesh) *identity.Identity { return nil }},
		"expired of a host": {8, func(m *mesh) *identity.Identity {
			id := m.grid.Agent()
			time.Sleep(identity.CertificateLife + time.Hour)
			return id
		}},
		"one identity": {32, func(m *mesh) *identity.Identity { return m.grid.Agent() }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMesh(t, identity.Accept{Anonymous: true, Expired: true})
				id := c.id(m)
				const enrol = "/grid.v1.Coordinator/Enrol"
				var dialers []*rpc.Dialer
				for i := range c.most + 1 {
					d := m.dialer(id, "10.0.0.1:1")
					dialers = append(dialers, d)
					if err := call(t.Context(), connect(t, d, "p", m.peer.id.ID()), enrol); (err == nil) != (i < c.most) {
						t.Fatalf("connection %d: %v", i, err)
					}
				}
				if err := call(t.Context(), connect(t, m.dialer(m.grid.Agent(), "10.0.0.1:2"), "p", m.peer.id.ID()), list); err != nil {
					t.Errorf("another is refused for it: %v", err)
				}
				dialers[0].Close()
				synctest.Wait()
				if err := call(t.Context(), connect(t, m.dialer(id, "10.0.0.1:3"), "p", m.peer.id.ID()), enrol); err != nil {
					t.Errorf("a place that was given back is not to be had: %v", err)
				}
			})
		})
	}
}

func TestUnknownProtocolsAreDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{})
		for _, protocols := range [][]string{nil, {"http/1.1"}} {
			raw, err := m.net.from("a:1")(t.Context(), "p")
			if err != nil {
				t.Fatal(err)
			}
			conf := identity.ClientTLS(m.grid.Agent(), m.grid.Root(), jobs.KeyID{})
			conf.NextProtos = protocols
			c := tls.Client(raw, conf)
			if err := c.Handshake(); err != nil {
				continue
			}
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Errorf("%q is served", protocols)
			}
		}
	})
}

// flaky fails to accept now and then, as a machine without file descriptors does.
type flaky struct {
	net.Listener
	fails int
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.fails > 0 {
		f.fails--
		return nil, errors.New("too many open files")
	}
	return f.Listener.Accept()
}

func TestListenerOutlivesErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, net := identitytest.NewGrid(t), newNetwork()
		id := grid.Agent()
		serve(t, &flaky{net.listen("p"), 3}, rpc.ListenOptions{Identity: always(id)}, registerAll)
		d := dialer(t, rpc.DialOptions{Identity: always(grid.Agent()), Root: grid.Root(), Dial: net.from("a")})
		if err := call(t.Context(), connect(t, d, "p", id.ID()), list); err != nil {
			t.Error(err)
		}
	})
}

func TestCloseJoins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, net := identitytest.NewGrid(t), newNetwork()
		l := rpc.Listen(net.listen("p"), rpc.ListenOptions{Identity: always(grid.Agent()), Log: quiet()})
		d := dialer(t, rpc.DialOptions{Identity: always(grid.Agent()), Root: grid.Root(), Dial: net.from("a:1")})
		untaken, err := d.Stream(t.Context(), "p", jobs.KeyID{})
		if err != nil {
			t.Fatal(err)
		}
		silent, err := net.from("b:1")(t.Context(), "p")
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		closing(t, l)
		closing(t, l)
		if time.Since(start) > 0 {
			t.Errorf("Close took %s", time.Since(start))
		}
		for _, c := range []io.Reader{untaken, silent} {
			if _, err := c.Read(make([]byte, 1)); err == nil {
				t.Error("a connection is still open")
			}
		}
		if _, ok := <-l.Gossip(); ok {
			t.Error("a stream after Close")
		}
		if _, err := l.GRPC().Accept(); err == nil {
			t.Error("a connection after Close")
		}
	})
}

func TestPanicsStayInTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, net := identitytest.NewGrid(t), newNetwork()
		id := grid.Agent()
		p := serve(t, net.listen("p"), rpc.ListenOptions{Identity: always(id)}, func(s *grpc.Server) {
			s.RegisterService(&grpc.ServiceDesc{
				ServiceName: "test.Faulty", HandlerType: (*any)(nil),
				Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, Handler: func(any, grpc.ServerStream) error { panic("stream") }}},
				Methods: []grpc.MethodDesc{{MethodName: "Unary", Handler: func(_ any, ctx context.Context, _ func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
					return i(ctx, nil, &grpc.UnaryServerInfo{FullMethod: "/test.Faulty/Unary"}, func(context.Context, any) (any, error) { panic("unary") })
				}}},
			}, nil)
		})
		c := connect(t, dialer(t, rpc.DialOptions{Identity: always(id), Root: grid.Root(), Dial: net.from("a")}), "p", id.ID())
		for range 2 {
			if err := c.Invoke(t.Context(), "/test.Faulty/Unary", nil, nil); jobs.KindOf(err) != jobs.Internal && jobs.HintOf(err) == "" {
				t.Errorf("unary: %v", err)
			}
			s, err := c.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/test.Faulty/Stream")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.RecvMsg(nil); jobs.KindOf(err) != jobs.Internal || jobs.HintOf(err) == "" {
				t.Errorf("stream: %v", err)
			}
		}
		if err := call(t.Context(), c, list); jobs.KindOf(err) != jobs.Unsupported {
			t.Errorf("a method that nobody registered: %v", err)
		}
		p.ended.want(t, map[string]int{"/test.Faulty/Unary Internal": 2, "/test.Faulty/Stream Internal": 2}) // names of methods that are not count nowhere
	})
}
