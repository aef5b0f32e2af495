// Package local is how the programs of a PC's users reach the agent on the same PC: gRPC over a unix socket, or over
// a named pipe on Windows.
//
// What it promises: a handler sees who calls as the system says it (CallerFrom), never as the caller does. Every
// local user may connect; what each may do is the handler's to decide. What one user can make the agent hold is
// bounded: connections, streams, sizes and time.
//
// What it does not do: reach beyond the machine. There is no TLS: what goes over the socket never leaves the kernel.
package local

import (
	"context"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	grpcpeer "google.golang.org/grpc/peer"

	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
)

const (
	// maxByUser and maxConnections bound the connections that are held: a helper for each session, a page and some
	// commands at once.
	maxByUser      = 16
	maxConnections = 512

	// maxStreams is for one connection: one command or helper each, and a page with a few.
	maxStreams = 16

	// window is what a stream may have on its way, in bytes, as ever in HTTP/2. It stays the same: to find a better one
	// gRPC would answer each report of a helper with a ping, which wakes both once more.
	window = 64 << 10

	// maxRequest is far more than any request has. Replies, such as a day's history, may have gRPC's own 4 MiB.
	maxRequest = 64 << 10
	maxHeaders = 8 << 10

	// openTimeout bounds HTTP/2's greetings.
	openTimeout = 5 * time.Second

	// connectionIdle is how long a connection may have no call.
	connectionIdle = 5 * time.Minute
)

// Caller is who is at the other end of a connection, as the system says it.
type Caller struct {
	User string // the system's number of the user: a UID, a SID; empty where Windows does not say
	PID  int    // of the process that connected
	// Session is the interactive session that the process belongs to: logind's name, Windows' number. Empty: none
	// that is known, as for what a user's own service manager started.
	Session string
	// Root says that the user administers the machine, SameUser that it is the agent's own.
	Root, SameUser bool

	interactive bool // it belongs to what somebody who is logged in runs
}

// Interactive reports whether the caller may decide for the people at this machine, to pause for instance: any user
// who is logged in, the machine's administrator and the agent's own user. Services and scheduled jobs may not.
func Interactive(c Caller) bool {
	return c.Root || c.SameUser || c.interactive || c.Session != ""
}

// CallerFrom returns who called, and false where the call did not come over Listen's socket.
func CallerFrom(ctx context.Context) (Caller, bool) {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return Caller{}, false
	}
	info, ok := p.AuthInfo.(authInfo)
	return info.caller, ok
}

// WithCaller returns a context in which CallerFrom finds c: for tests that call handlers without a connection.
// Over the socket nobody can set it.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return grpcpeer.NewContext(ctx, &grpcpeer.Peer{AuthInfo: authInfo{caller: c}})
}

// Listen opens the socket at a path for every local user. A socket that a dead agent left there is replaced; where a
// living one listens the error is of kind Exists. Two agents that start at once on one path are kept apart by the
// lock of their state folder.
//
// The socket lies in a folder that only this user, or root, can write to; it is made where it is missing. On Windows
// the path is the name of a pipe. Serve it with NewServer: others do not learn who calls.
func Listen(path string) (net.Listener, error) { return listen(path) }

// NewServer returns a server for the connections of Listen. Its handlers return errors of package jobs and ask
// CallerFrom. Stop returns when all handlers have ended.
func NewServer(log *slog.Logger) *grpc.Server {
	return grpc.NewServer(append(rpc.Guard(log, nil),
		grpc.Creds(&serverSide{held: map[string]int{}}),
		grpc.ConnectionTimeout(openTimeout),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.WaitForHandlers(true),
		grpc.StaticStreamWindowSize(window),
		// No pings: the kernel tells at once when a process has ended.
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: connectionIdle}),
	)...)
}

// Dial returns a connection to the agent that listens at a path. It connects at the first call, and anew when it was
// lost; with no agent there calls fail with Unavailable. Errors of calls are statuses: see rpc.FromStatus.
func Dial(path string) (*grpc.ClientConn, error) {
	cc, err := grpc.NewClient("passthrough:///agent",
		grpc.WithTransportCredentials(clientSide{}),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, path) }),
		grpc.WithMaxHeaderListSize(maxHeaders),
	)
	if err != nil {
		return nil, jobs.Errorf(jobs.Internal, "connect to the agent at %s: %w", path, err)
	}
	return cc, nil
}
