package rpc

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
)

const (
	// connectionAge makes clients connect anew, so that a renewed certificate comes into use and a role that
	// was changed counts. Calls under way have connectionGrace to end.
	connectionAge   = time.Hour
	connectionGrace = 30 * time.Minute

	// connectionIdle is longer than the clients' idleTimeout, so that the side that may want to speak decides.
	connectionIdle = 3 * idleTimeout

	// maxStreams is for one connection: an exchange, some records and a few blobs at once, not a flood.
	maxStreams = 64
)

// Told is who is told of calls. Neither may block; nil is nobody.
type Told struct {
	Called   func(who identity.Caller, method string) // Allow lets a call pass
	Answered Answered
}

// Answered is told how a call of a method that there is ended.
type Answered func(method string, code codes.Code)

// NewServer returns a gRPC server for the connections of Listener.GRPC. Its handlers return errors of package
// jobs and start with Allow. A handler that panics gives an error of kind Internal and a line in the log.
// Stop returns when all handlers have ended.
func NewServer(log *slog.Logger, told Told) *grpc.Server {
	return grpc.NewServer(append(Guard(log, told.Answered),
		grpc.Creds(handshaken{told.Called}),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.ReadBufferSize(readBuffer),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage), // the client takes no more
		grpc.MaxHeaderListSize(maxHeaders),
		grpc.WaitForHandlers(true),
		// Clients ping every 30 s while a call waits; whoever pings far more often is cut off. Without this
		// policy gRPC's default of 5 min would cut our own off.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{
			MinTime: 20 * time.Second, PermitWithoutStream: true,
		}),
		// Pings find peers that went to sleep or lost power: TCP alone would keep them for hours.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: connectionIdle, MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: connectionGrace,
			Time: time.Minute, Timeout: 20 * time.Second,
		}),
	)...)
}

// Guard returns what every server of ours does around its handlers: what they return becomes a status, and one
// that panics gives an error of kind Internal and a line in the log. answered may be nil.
func Guard(log *slog.Logger, answered Answered) []grpc.ServerOption {
	if answered == nil {
		answered = func(string, codes.Code) {}
	}
	end := func(method string, panicked any, err error) error {
		err = ToStatus(recovered(log, method, panicked, err))
		answered(method, status.Code(err))
		return err
	}
	return []grpc.ServerOption{
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (reply any, err error) {
			defer func() { err = end(info.FullMethod, recover(), err) }()
			return h(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, s grpc.ServerStream, info *grpc.StreamServerInfo, h grpc.StreamHandler) (err error) {
			defer func() { err = end(info.FullMethod, recover(), err) }()
			return h(srv, s)
		}),
	}
}

// recovered returns err, or an error for a handler's panic.
func recovered(log *slog.Logger, method string, panicked any, err error) error {
	if panicked == nil {
		return err
	}
	log.Error("a handler panicked", "method", method, "panic", fmt.Sprint(panicked), "stack", string(debug.Stack()))
	return jobs.WithHint(jobs.Errorf(jobs.Internal, "%s failed by a fault of the program", method),
		"its log says more; please report it")
}
