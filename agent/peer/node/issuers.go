package node

import (
	"crypto/ed25519"
	"crypto/tls"
	"slices"
	"sync"

	"idlegrid/agent/peer/identity"
)

// maxIssuers bounds the issuing keys that a peer remembers. A grid has one, and one more with each
// `gridcoordinator reissue` for as long as certificates by the one before live.
const maxIssuers = 8

// issuers are the keys by which other peers were certified, beside this peer's own issuer: their vouchers are as
// good. They are learned from TLS handshakes, of which each comes before what it carries of gossip.
type issuers struct {
	mu   sync.Mutex // guards keys
	keys []ed25519.PublicKey
}

// met looks at a handshake with a peer whose certificate is good.
func (n *Node) met(state tls.ConnectionState) {
	if len(state.PeerCertificates) < 2 || n.isIssuer(state.PeerCertificates[1].PublicKey) {
		return
	}
	key, err := identity.IssuerKey(state.PeerCertificates[1].Raw, n.Identity().Root)
	if err != nil {
		return // a root shown with it, or something that nobody asked for
	}
	n.issuers.add(key)
}

// add remembers a key, and forgets the oldest where there are too many. Of two handshakes at once both may bring it.
func (i *issuers) add(key ed25519.PublicKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if slices.ContainsFunc(i.keys, func(k ed25519.PublicKey) bool { return k.Equal(key) }) {
		return
	}
	if i.keys = append(i.keys, key); len(i.keys) > maxIssuers {
		i.keys = slices.Delete(i.keys, 0, 1)
	}
}

func (n *Node) isIssuer(key any) bool {
	return slices.ContainsFunc(n.issuerKeys(), func(k ed25519.PublicKey) bool {
		other, ok := key.(ed25519.PublicKey)
		return ok && k.Equal(other)
	})
}

// issuerKeys are those whose vouchers count.
func (n *Node) issuerKeys() []ed25519.PublicKey {
	n.issuers.mu.Lock()
	defer n.issuers.mu.Unlock()
	return append([]ed25519.PublicKey{n.Identity().Issuer()}, n.issuers.keys...)
}
