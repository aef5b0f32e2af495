// Package rpc carries calls and gossip streams between peers: one TCP port, TLS first, then gRPC or gossip by
// ALPN. It turns error kinds into status codes and back, and holds the one table of who may call what.
//
//	           ┌ Listener: accept, TLS handshake, caps ┐        "h2"  ┌ grpc.Server: recover, ToStatus ┐
//	TCP port ──┤                                       ├──────────────┤                                ├─ handler: Allow(ctx, method)
//	           └───────────────────────────────────────┘  └ gossip ─── chan net.Conn                   ┘
//
// What it promises: a handler sees the caller that the TLS handshake proved, and the table denies whatever it
// does not list. What a stranger can make a peer hold is bounded: connections by address and in all, and
// handshakes by number and time. Callers see errors of package jobs only.
//
// What it does not do: authorise by itself. Interceptors see the path that the client wrote, and have been
// fooled by that; so each handler asks Allow with its own name. Whether a job is the caller's own is the
// handler's to know.
package rpc

import "time"

const (
	// protocolGRPC and protocolGossip are the ALPN names. TLS itself drops a client that offers neither.
	protocolGRPC   = "h2"
	protocolGossip = "idlegrid-gossip/1"

	// handshakeTimeout bounds TLS and, after it, HTTP/2 settings: slow enough for a busy PC, fast enough that
	// half-open connections do not pile up.
	handshakeTimeout = 10 * time.Second

	// maxMessage is gRPC's own default, which both sides rely on: whatever is larger travels as a stream.
	maxMessage = 4 << 20

	// maxHeaders bounds what HTTP/2 headers and trailers may make us hold; see maxErrorText.
	maxHeaders = 16 << 10
)
