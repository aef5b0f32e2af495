package node

import (
	"crypto/ed25519"
	"testing"
)

// TestIssuers: handshakes at the same moment that bring one key do not push out others; of too many keys the oldest
// goes.
func TestIssuers(t *testing.T) {
	var i issuers
	key := func(n int) ed25519.PublicKey { return ed25519.PublicKey{byte(n)} }
	i.add(key(0))
	for range 2 * maxIssuers {
		i.add(key(1))
	}
	if len(i.keys) != 2 || !i.keys[0].Equal(key(0)) {
		t.Errorf("keys %v", i.keys)
	}
	for n := range maxIssuers {
		i.add(key(n + 1))
	}
	if len(i.keys) != maxIssuers || !i.keys[0].Equal(key(1)) {
		t.Errorf("keys %v", i.keys)
	}
}
