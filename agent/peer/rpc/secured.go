package rpc

import (
	"context"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"

	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
)

// secured is a connection after its TLS handshake.
type secured struct {
	net.Conn
	caller  identity.Caller // on the server's side
	release func()          // gives its place among the connections back; may be nil
	once    sync.Once
}

// Close closes the connection and gives its place back.
func (s *secured) Close() error {
	err := s.Conn.Close()
	if s.release != nil {
		s.once.Do(s.release)
	}
	return err
}

// handshaken are gRPC credentials for connections that come secured already: the listener has to see TLS's
// ALPN before gRPC sees the connection, and the dialer serves gossip too.
type handshaken struct {
	called func(who identity.Caller, method string) // see Told; nil on the client's side
}

// ClientHandshake implements credentials.TransportCredentials.
func (h handshaken) ClientHandshake(_ context.Context, _ string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return h.ServerHandshake(raw)
}

// ServerHandshake implements credentials.TransportCredentials.
func (h handshaken) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	s, ok := raw.(*secured)
	if !ok {
		return nil, nil, jobs.Errorf(jobs.Internal, "a connection that did not come from this package's listener or dialer")
	}
	info := newAuthInfo(s.caller)
	info.called = h.called
	return s, info, nil
}

// Info implements credentials.TransportCredentials.
func (handshaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (h handshaken) Clone() credentials.TransportCredentials { return h }

// OverrideServerName implements credentials.TransportCredentials; names of servers mean nothing here.
func (handshaken) OverrideServerName(string) error { return nil }

// level says that a connection is private; gRPC asks for it.
type level = credentials.CommonAuthInfo

// authInfo is what a connection proved, in the form that gRPC hands to handlers.
type authInfo struct {
	level
	caller identity.Caller
	called func(who identity.Caller, method string) // told of what Allow lets pass; nil: nobody is
}

// AuthType implements credentials.AuthInfo.
func (authInfo) AuthType() string { return "idlegrid" }

func newAuthInfo(c identity.Caller) authInfo {
	return authInfo{level: level{SecurityLevel: credentials.PrivacyAndIntegrity}, caller: c}
}
