package rpc_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestAnHourOfIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{})
		c := connect(t, m.dialer(m.grid.Agent(), "a:1"), "p", m.peer.id.ID())
		for range 10 {
			if err := call(t.Context(), c, list); err != nil {
				t.Fatal(err)
			}
		}
		if n := m.net.dialled(); n != 1 {
			t.Errorf("%d connections for ten calls", n)
		}
		time.Sleep(time.Hour)
		if err := call(t.Context(), c, list); err != nil {
			t.Fatal(err)
		}
		if n := m.net.dialled(); n != 2 {
			t.Errorf("%d connections, expected a second one after the first was idle", n)
		}
	})
}

// TestRenewedIdentitiesComeIntoUse has two peers talk, without a pause that would close their connection, for
// longer than a certificate lasts.
func TestRenewedIdentitiesComeIntoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, net := identitytest.NewGrid(t), newNetwork()
		server, client := grid.Agent(), grid.Agent()
		serve(t, net.listen("p"), rpc.ListenOptions{Identity: renewing(t, grid, server)}, registerAll)
		d := dialer(t, rpc.DialOptions{Identity: renewing(t, grid, client), Root: grid.Root(), Dial: net.from("a:1")})
		c := connect(t, d, "p", server.ID())
		for start := time.Now(); time.Since(start) < identity.CertificateLife+24*time.Hour; time.Sleep(4 * time.Minute) {
			if err := call(t.Context(), c, list); err != nil {
				t.Fatalf("after %s: %v", time.Since(start), err)
			}
		}
		if n := net.dialled(); n > 24*16 {
			t.Errorf("%d connections in 15 days, expected about one an hour", n)
		}
	})
}

func TestUnreachablePeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{})
		m.net.listen("silent")
		agent := m.grid.Agent()
		d := m.dialer(agent, "a:1")
		for name, c := range map[string]struct {
			addr   string
			expect jobs.KeyID
			says   string
		}{
			"nobody":           {"nobody", jobs.KeyID{}, "reach nobody: connection refused"},
			"another":          {"p", agent.ID(), "expected " + agent.ID().Short()},
			"silent":           {"silent", jobs.KeyID{}, "reach silent: context deadline exceeded"},
			"no address":       {"", jobs.KeyID{}, "refused"},
			"address with dns": {"dns://8.8.8.8/x?y#z", jobs.KeyID{}, "refused"},
		} {
			err := call(t.Context(), connect(t, d, c.addr, c.expect), list)
			if jobs.KindOf(err) != jobs.Unavailable || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v", name, err)
			}
			if _, err := d.Stream(t.Context(), c.addr, c.expect); jobs.KindOf(err) != jobs.Unavailable || !strings.Contains(err.Error(), c.says) {
				t.Errorf("a stream to %s: %v", name, err)
			}
		}
		if err := call(t.Context(), connect(t, d, "p", jobs.KeyID{}), list); err != nil {
			t.Errorf("any peer: %v", err)
		}
	})
}

func TestPeerThatComesBackIsFoundSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, net := identitytest.NewGrid(t), newNetwork()
		id := grid.Agent()
		d := dialer(t, rpc.DialOptions{Identity: always(grid.Agent()), Root: grid.Root(), Dial: net.from("a:1")})
		c := connect(t, d, "p", id.ID())
		for range 240 {
			if err := call(t.Context(), c, list); jobs.KindOf(err) != jobs.Unavailable {
				t.Fatal(err)
			}
			time.Sleep(15 * time.Second)
		}
		for before := net.dialled(); net.dialled() == before; time.Sleep(time.Second) {
			if err := call(t.Context(), c, list); err == nil {
				t.Fatal("called nobody")
			}
		}
		serve(t, net.listen("p"), rpc.ListenOptions{Identity: always(id)}, registerAll) // just missed
		back := time.Now()
		for call(t.Context(), c, list) != nil {
			time.Sleep(time.Second)
		}
		if took := time.Since(back); took > 20*time.Second {
			t.Errorf("found after %s", took)
		}
	})
}

func TestNewcomerNeedsOnlyThePin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{Anonymous: true})
		d := dialer(t, rpc.DialOptions{Pin: jobs.DigestOf(m.grid.Root()), Dial: m.net.from("a:1")})
		if err := call(t.Context(), connect(t, d, "p", jobs.KeyID{}), "/grid.v1.Coordinator/Enrol"); err != nil {
			t.Error(err)
		}
		other := dialer(t, rpc.DialOptions{Pin: jobs.DigestOf(nil), Dial: m.net.from("a:2")})
		err := call(t.Context(), connect(t, other, "p", jobs.KeyID{}), "/grid.v1.Coordinator/Enrol")
		if jobs.KindOf(err) != jobs.Unavailable || !strings.Contains(err.Error(), "not of the grid") || jobs.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
	})
}

// TestClosedInTheHandshake dials a peer that takes connections and closes them, as one does that is just killed. The
// error is not io.EOF, which on a stream would say that all has come.
func TestClosedInTheHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{})
		rude := m.net.listen("rude")
		var work sync.WaitGroup
		work.Go(func() {
			for {
				c, err := rude.Accept()
				if err != nil {
					return
				}
				_, _ = c.Read(make([]byte, 1<<14)) // the client's first word
				_ = c.Close()                      // whatever it says, the connection is gone
			}
		})
		d := dialer(t, rpc.DialOptions{Pin: jobs.DigestOf(m.grid.Root()), Dial: m.net.from("a:1")})
		_, err := gridv1.NewBlobsClient(connect(t, d, "rude", jobs.KeyID{})).Put(t.Context())
		if jobs.KindOf(err) != jobs.Unavailable || errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "it closed the connection") {
			t.Errorf("a stream to a peer that closes connections: %v", err)
		}
		if err := rude.Close(); err != nil {
			t.Error(err)
		}
		work.Wait()
	})
}

func TestDialerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, identity.Accept{})
		m.net.listen("silent")
		d := m.dialer(m.grid.Agent(), "a:1")
		c := connect(t, d, "p", m.peer.id.ID())
		if err := call(t.Context(), c, list); err != nil {
			t.Fatal(err)
		}
		failed := make(chan error, 2)
		go func() { failed <- call(t.Context(), connect(t, d, "silent", jobs.KeyID{}), list) }()
		go func() {
			_, err := d.Stream(t.Context(), "silent", jobs.KeyID{})
			failed <- err
		}()
		synctest.Wait()
		start := time.Now()
		d.Close()
		d.Close()
		for range 2 {
			if err := <-failed; jobs.KindOf(err) != jobs.Unavailable {
				t.Errorf("a call under way: %v of kind %s", err, jobs.KindOf(err))
			}
		}
		if time.Since(start) > 0 {
			t.Errorf("Close took %s", time.Since(start))
		}
		if err := call(t.Context(), c, list); jobs.KindOf(err) != jobs.Unavailable {
			t.Errorf("a call after Close: %v", err)
		}
		if _, err := d.Conn("p", jobs.KeyID{}); jobs.KindOf(err) != jobs.Unavailable {
			t.Errorf("a connection after Close: %v", err)
		}
		if _, err := d.Stream(t.Context(), "p", jobs.KeyID{}); jobs.KindOf(err) != jobs.Unavailable {
			t.Errorf("a stream after Close: %v", err)
		}
	})
}

// echo takes any string and fails with it, or waits for the caller to go.
func echo(s *grpc.Server) {
	handle := func(ctx context.Context, in any) (any, error) {
		text := in.(*wrapperspb.StringValue).GetValue()
		switch text {
		case "wait":
			<-ctx.Done()
			return nil, ctx.Err()
		case "fail":
			return nil, jobs.WithHint(jobs.Errorf(jobs.Corrupt, "bits fell over"), "put them up again")
		case "unavailable":
			return nil, jobs.Errorf(jobs.Unavailable, "not now")
		}
		return in, nil
	}
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "test.Echo", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Echo", Handler: func(_ any, ctx context.Context, decode func(any) error, i grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return i(ctx, in, &grpc.UnaryServerInfo{FullMethod: "/test.Echo/Echo"}, handle)
		}}},
	}, nil)
}

func TestCallersSeeErrorsOfJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid, net := identitytest.NewGrid(t), newNetwork()
		p := serve(t, net.listen("p"), rpc.ListenOptions{Identity: always(coordinator(grid))}, echo)
		d := dialer(t, rpc.DialOptions{Identity: always(grid.Role(peer.Operator, "o")), Root: grid.Root(), Dial: net.from("a:1")})
		c := connect(t, d, "p", jobs.KeyID{})
		say := func(ctx context.Context, text string) error {
			return c.Invoke(ctx, "/test.Echo/Echo", wrapperspb.String(text), new(wrapperspb.StringValue))
		}
		if err := say(t.Context(), "fail"); jobs.KindOf(err) != jobs.Corrupt || err.Error() != "bits fell over" || jobs.HintOf(err) != "put them up again" {
			t.Errorf("%v", err)
		}
		if err := say(t.Context(), "unavailable"); jobs.KindOf(err) != jobs.Unavailable || err.Error() != "not now" {
			t.Errorf("%v", err)
		}
		if err := say(t.Context(), strings.Repeat("x", 4<<20-5)); err != nil {
			t.Errorf("the largest message: %v", err)
		}
		if err := say(t.Context(), strings.Repeat("x", 4<<20)); jobs.KindOf(err) != jobs.Exhausted {
			t.Errorf("a message too large: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // of many pings
		defer cancel()
		if err := say(ctx, "wait"); !errors.Is(err, context.DeadlineExceeded) || jobs.KindOf(err) != jobs.Unavailable {
			t.Errorf("out of time: %v", err)
		}
		synctest.Wait()
		const echo = "/test.Echo/Echo "
		p.ended.want(t, map[string]int{echo + "OK": 1, echo + "DataLoss": 1, echo + "Unavailable": 1, echo + "DeadlineExceeded": 1})
	})
}
