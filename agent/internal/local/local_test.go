package local

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// sessions answers every stream when it ends, and tells who called.
type sessions struct {
	gridv1.UnimplementedSessionServer
	callers chan Caller
}

func (s *sessions) Report(stream grpc.BidiStreamingServer[gridv1.SessionReport, gridv1.SessionAsk]) error {
	c, ok := CallerFrom(stream.Context())
	if !ok {
		return jobs.Errorf(jobs.Denied, "not over the local socket")
	}
	s.callers <- c
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// serve listens at a path until the test ends.
func serve(t *testing.T, path string) *sessions {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	s := &sessions{callers: make(chan Caller, 64)}
	server := NewServer(slog.New(slog.DiscardHandler))
	gridv1.RegisterSessionServer(server, s)
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Stop()
		// A test may end before the server began.
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	return s
}

// open makes a call that lasts until the test ends.
func open(t *testing.T, path string) (grpc.BidiStreamingClient[gridv1.SessionReport, gridv1.SessionAsk], error) {
	t.Helper()
	cc, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	stream, err := gridv1.NewSessionClient(cc).Report(ctx)
	if err != nil {
		return nil, err
	}
	return stream, stream.Send(&gridv1.SessionReport{})
}

// end closes a call and returns what came of it.
func end(stream grpc.BidiStreamingClient[gridv1.SessionReport, gridv1.SessionAsk]) (*gridv1.SessionAsk, error) {
	if err := stream.CloseSend(); err != nil {
		return nil, err
	}
	return stream.Recv()
}

func socket(t *testing.T) string {
	t.Helper()
	return filepath.Join(shortDir(t), "agent.sock")
}

// shortDir is a folder whose sockets' paths systems take.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "local")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestCallerIsWhoTheSystemSays(t *testing.T) {
	path := socket(t)
	s := serve(t, path)
	if _, err := open(t, path); err != nil {
		t.Fatal(err)
	}
	c := <-s.callers
	if c.PID != os.Getpid() || !c.SameUser || !Interactive(c) {
		t.Errorf("caller %+v, expected this process, %d", c, os.Getpid())
	}
}

func TestCallsElsewhereHaveNoCaller(t *testing.T) {
	if c, ok := CallerFrom(t.Context()); ok {
		t.Errorf("caller %+v of a call that came from nowhere", c)
	}
	want := Caller{User: "7", Session: "3"}
	if c, ok := CallerFrom(WithCaller(t.Context(), want)); !ok || c != want {
		t.Errorf("caller %+v, expected %+v", c, want)
	}
}

func TestInteractive(t *testing.T) {
	for name, c := range map[string]struct {
		caller Caller
		want   bool
	}{
		"a service":              {Caller{User: "33", PID: 7}, false},
		"in a session":           {Caller{User: "1000", Session: "3"}, true},
		"of a logged-in user":    {Caller{User: "1000", interactive: true}, true},
		"the administrator":      {Caller{User: "0", Root: true}, true},
		"the agent's own user":   {Caller{User: "99", SameUser: true}, true},
		"nobody that is known":   {Caller{}, false},
		"an administrator's job": {Caller{User: "S-1-5-18", Root: true}, true},
	} {
		if got := Interactive(c.caller); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestConnectionsOfOneUserAreBounded(t *testing.T) {
	path := socket(t)
	s := serve(t, path)
	for range maxByUser {
		if _, err := open(t, path); err != nil {
			t.Fatal(err)
		}
		<-s.callers
	}
	stream, err := open(t, path)
	if err == nil {
		_, err = end(stream)
	}
	if code := status.Code(err); code != codes.Unavailable {
		t.Errorf("connection %d: %v, expected none", maxByUser+1, err)
	}
}

func TestPlacesAreGivenBack(t *testing.T) {
	s := &serverSide{held: map[string]int{}}
	for range 3 * maxConnections {
		if err := s.take("7"); err != nil {
			t.Fatal(err)
		}
		c, far := net.Pipe()
		counted := &counted{Conn: c, release: func() { s.give("7") }}
		counted.Close()
		counted.Close() // gRPC may close twice
		far.Close()
	}
	if len(s.held) != 0 || s.total != 0 {
		t.Errorf("%v and %d are held of closed connections", s.held, s.total)
	}
}

func TestTooLargeRequest(t *testing.T) {
	path := socket(t)
	serve(t, path)
	cc, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	// Of the same wire format as a report with an unknown field.
	stream, err := gridv1.NewSessionClient(cc).Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &gridv1.SessionReport{}
	r.ProtoReflect().SetUnknown(append([]byte{0xfa, 0x01, 0x80, 0x80, 0x08}, make([]byte, 128<<10)...))
	if err := stream.Send(r); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if _, err := end(stream); jobs.KindOf(rpc.FromStatus(err)) != jobs.Exhausted {
		t.Errorf("a request of 128 KiB: %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	stream, err := open(t, socket(t))
	if err == nil {
		_, err = end(stream)
	}
	if jobs.KindOf(rpc.FromStatus(err)) != jobs.Unavailable {
		t.Errorf("call with no agent there: %v", err)
	}
}
