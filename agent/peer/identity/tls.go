package identity

import (
	"crypto/tls"
	"errors"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// Accept says whom a server lets in beside those with a valid certificate of the grid. Both are for the
// coordinator, and its handlers let them do no more than enrol and renew.
type Accept struct {
	Anonymous bool // callers without a certificate
	Expired   bool // callers whose certificate has ended; their Caller.Expired is set
}

// ServerTLS returns settings for a server: TLS 1.3, and a client certificate by the rules of VerifyChain. The
// identity is asked for at each handshake, so a renewed one comes into use. The caller sets NextProtos, and
// learns by Accept.Caller who connected.
//
// Session tickets are off: each connection shows its certificate anew.
func ServerTLS(current func() *Identity, accept Accept) *tls.Config {
	conf := &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequireAnyClientCert,
		SessionTicketsDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return current().certificate(accept.Anonymous), nil
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := accept.Caller(state, current().Root)
			return err
		},
	}
	if accept.Anonymous {
		conf.ClientAuth = tls.RequestClientCert
	}
	return conf
}

// certificate returns what a handshake shows. With the root a newcomer that knows only its digest can verify
// the rest.
func (id *Identity) certificate(withRoot bool) *tls.Certificate {
	chain := id.Chain
	if withRoot {
		chain = append(slices.Clone(chain), id.Root)
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: id.Key}
}

// Caller returns who is at the other end of a connection whose handshake is over, and the error for which it
// should be closed.
func (a Accept) Caller(state tls.ConnectionState, root []byte) (Caller, error) {
	if len(state.PeerCertificates) == 0 {
		if a.Anonymous {
			return Caller{}, nil
		}
		return Caller{}, jobs.Errorf(jobs.Denied, "no certificate")
	}
	v, err := verify(chainOf(state), root)
	if err != nil {
		return Caller{}, err
	}
	err = v.at(time.Now())
	if a.Expired && jobs.KindOf(err) == jobs.Expired {
		v.caller.Expired = true
		return v.caller, nil
	}
	return v.caller, err
}

// chainOf returns what the peer showed. A root among it is harmless: only the grid's own is trusted.
func chainOf(state tls.ConnectionState) [][]byte {
	chain := make([][]byte, 0, len(state.PeerCertificates))
	for _, cert := range state.PeerCertificates {
		chain = append(chain, cert.Raw)
	}
	return chain
}

// ClientTLS returns settings for a client that trusts the grid's root: TLS 1.3, its own certificate (none, if
// id is nil), and a server that is an agent or the coordinator and, unless expect is zero, has that key ID.
// The caller sets NextProtos.
func ClientTLS(id *Identity, root []byte, expect jobs.KeyID) *tls.Config {
	conf := clientTLS(func(state tls.ConnectionState) error {
		server, err := serverOf(state, root)
		if err == nil && !expect.IsZero() && server.ID != expect {
			return jobs.Errorf(jobs.Denied, "the peer there is %s, expected %s", server.ID.Short(), expect.Short())
		}
		return err
	})
	if id != nil {
		conf.Certificates = []tls.Certificate{*id.certificate(false)}
	}
	return conf
}

// NewcomerTLS returns settings for a client that has no certificate yet and knows of the grid what its token
// says, the digest of the root certificate. The server must be the coordinator; it shows the root itself.
func NewcomerTLS(pin jobs.Digest) *tls.Config {
	return clientTLS(func(state tls.ConnectionState) error {
		root, err := rootIn(state, pin)
		if err != nil {
			return err
		}
		server, err := serverOf(state, root)
		if err == nil && server.Role != peer.Coordinator {
			return jobs.Errorf(jobs.Denied, "the peer there is an agent, expected the coordinator")
		}
		return err
	})
}

// clientTLS leaves nothing of crypto/tls's own verification, which knows host names and the system's roots;
// verify runs at each handshake in its place.
func clientTLS(verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, VerifyConnection: verify}
}

// serverOf returns who the server is: an agent or the coordinator, with a valid certificate.
func serverOf(state tls.ConnectionState, root []byte) (Caller, error) {
	server, err := Accept{}.Caller(state, root)
	if err == nil && server.Role != peer.Agent && server.Role != peer.Coordinator {
		err = jobs.Errorf(jobs.Denied, "the peer there is a mere %s", server.Role)
	}
	return server, err
}

// ErrOtherGrid says that a token was shown to the coordinator of another grid, which did not get to see it.
var ErrOtherGrid = errors.New("the server is not of the grid that the token is for")

// rootIn returns the certificate with the given digest from what the server showed.
func rootIn(state tls.ConnectionState, pin jobs.Digest) ([]byte, error) {
	for _, cert := range state.PeerCertificates {
		if jobs.DigestOf(cert.Raw) == pin {
			return cert.Raw, nil
		}
	}
	return nil, jobs.WithHint(jobs.Errorf(jobs.Denied, "%w", ErrOtherGrid),
		"ask the operator for a new token: `gridcoordinator token`")
}
