package rpc

import (
	"context"
	"crypto/tls"
	"net"
	"strings"

	"idlegrid/jobs"
)

// secure makes a client's TLS connection for the one protocol in conf.
func secure(ctx context.Context, raw net.Conn, conf *tls.Config) (net.Conn, error) {
	c := tls.Client(raw, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	protocol := conf.NextProtos[0]
	if c.ConnectionState().NegotiatedProtocol != protocol {
		return nil, jobs.Errorf(jobs.Unsupported, "the peer there does not speak %s", protocol)
	}
	if protocol != protocolGRPC {
		return c, nil
	}
	return welcome(ctx, c)
}

// welcome waits for the first byte of a server that speaks first, as HTTP/2 servers do. With TLS 1.3 a client
// believes that all is well before the server has looked at its certificate; if it wrote at once, it would
// learn of a refusal as "broken pipe".
func welcome(ctx context.Context, c *tls.Conn) (net.Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = c.NetConn().Close() }) // ends the read
	w := &welcomed{Conn: c, first: make([]byte, 1)}
	_, err := c.Read(w.first)
	if !stop() {
		return nil, context.Cause(ctx)
	}
	if err == nil {
		return w, nil
	}
	if strings.Contains(err.Error(), "remote error: tls") {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Denied, "the peer refused this certificate: %w", err),
			"it has ended, is of another grid, or the clocks differ")
	}
	return nil, jobs.Errorf(jobs.Unavailable, "the peer closed the connection: %w", err)
}

// welcomed is a connection of which the first byte was read already.
type welcomed struct {
	net.Conn
	first []byte
}

// Read implements net.Conn.
func (w *welcomed) Read(p []byte) (int, error) {
	if len(w.first) == 0 {
		return w.Conn.Read(p)
	}
	n := copy(p, w.first)
	w.first = w.first[n:]
	return n, nil
}
