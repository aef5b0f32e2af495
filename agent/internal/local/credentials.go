package local

import (
	"context"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"

	"idlegrid/jobs"
)

// serverSide are gRPC credentials that ask the system who is at the other end, and count the connections.
type serverSide struct {
	mu    sync.Mutex
	held  map[string]int // by user; guarded by mu; never zero
	total int            // guarded by mu
}

// ServerHandshake implements credentials.TransportCredentials. Nothing is said on the connection, so that it takes
// no time.
func (s *serverSide) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	caller, err := callerOf(raw)
	if err != nil {
		return nil, nil, jobs.Errorf(jobs.Denied, "ask the system who connects: %w", err)
	}
	// Who has no name of a user has one of a session.
	name := caller.User
	if name == "" {
		name = "session " + caller.Session
	}
	if err := s.take(name); err != nil {
		return nil, nil, err
	}
	return &counted{Conn: raw, release: func() { s.give(name) }}, authInfo{caller: caller}, nil
}

func (s *serverSide) take(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= maxConnections || s.held[name] >= maxByUser {
		return jobs.Errorf(jobs.Exhausted, "too many connections: %d of user %s, %d in all", s.held[name], name, s.total)
	}
	s.held[name]++
	s.total++
	return nil
}

func (s *serverSide) give(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.held[name]--; s.held[name] == 0 {
		delete(s.held, name)
	}
}

// ClientHandshake implements credentials.TransportCredentials.
func (*serverSide) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a server's credentials")
}

// Info implements credentials.TransportCredentials.
func (*serverSide) Info() credentials.ProtocolInfo { return info() }

// Clone implements credentials.TransportCredentials. The counts are one, whoever holds them.
func (s *serverSide) Clone() credentials.TransportCredentials { return s }

// OverrideServerName implements credentials.TransportCredentials; there are no names.
func (*serverSide) OverrideServerName(string) error { return nil }

// clientSide are gRPC credentials that add nothing: dial has checked who listens.
type clientSide struct{}

// ClientHandshake implements credentials.TransportCredentials.
func (clientSide) ClientHandshake(_ context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return raw, authInfo{}, nil
}

// ServerHandshake implements credentials.TransportCredentials.
func (clientSide) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these are a client's credentials")
}

// Info implements credentials.TransportCredentials.
func (clientSide) Info() credentials.ProtocolInfo { return info() }

// Clone implements credentials.TransportCredentials.
func (c clientSide) Clone() credentials.TransportCredentials { return c }

// OverrideServerName implements credentials.TransportCredentials; there are no names.
func (clientSide) OverrideServerName(string) error { return nil }

func info() credentials.ProtocolInfo { return credentials.ProtocolInfo{SecurityProtocol: "local"} }

// authInfo is who is at the other end, in the form that gRPC hands to handlers.
type authInfo struct {
	credentials.CommonAuthInfo
	caller Caller
}

// AuthType implements credentials.AuthInfo.
func (authInfo) AuthType() string { return "local" }

// counted is a connection that has a place.
type counted struct {
	net.Conn
	release func()
	once    sync.Once
}

// Close closes the connection and gives its place back.
func (c *counted) Close() error {
	c.once.Do(c.release)
	return c.Conn.Close()
}
