// Package identity says who is who: keys, certificates, roles, join tokens and vouchers, and the TLS settings
// that follow from them.
//
// Every machine and every person has one Ed25519 key; its SHA-256 is the key ID by which all else names it. A
// grid has one root certificate, which signs one issuing certificate, which signs everybody's leaf. Role,
// class and owner stand in the leaf, so that any peer can check them with the root alone:
//
//	root (20 years, key may be locked away) ── issuing (5 years, at the coordinator) ── leaf (14 days)
//
// What it promises: a Caller other than the zero one is somebody whose chain leads to the grid's root, whose
// key ID fits the key, and whose certificate has the grid's one form. The system's own roots are never asked.
// Nothing from outside is parsed beyond a fixed size.
//
// What it does not do: it keeps no list of revoked certificates or of used tokens, and decides nothing about
// what a role may do (see agent/peer/rpc).
package identity

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

const (
	// CertificateLife is how long a certificate lasts: long enough for two weeks without the coordinator.
	CertificateLife = 14 * 24 * time.Hour

	// backdate is how far before its making a certificate begins, for machines whose clock is behind.
	backdate = 24 * time.Hour
)

// Caller is who is at the other end, or who signed something. The zero value is anonymous.
type Caller struct {
	ID       jobs.KeyID
	Key      ed25519.PublicKey
	Role     peer.Role
	Class    peer.Class
	Owner    string
	NotAfter time.Time // when its certificate, or one above it, ends
	Expired  bool      // it had ended when it was looked at; such a caller may only renew
}

// Identity is a key with the certificates that say whose it is. New and Load make it; it never changes.
type Identity struct {
	Key   ed25519.PrivateKey
	Chain [][]byte // in DER, the leaf first, without the root
	Root  []byte   // in DER

	caller Caller
	issuer ed25519.PublicKey
	renew  time.Time
}

// New checks that the chain leads to the root and is for the key. It does not look at dates: a machine that
// was off for long still needs its identity in order to renew it.
func New(key ed25519.PrivateKey, chain [][]byte, root []byte) (*Identity, error) {
	v, err := verify(chain, root)
	if err != nil {
		return nil, err
	}
	if !v.caller.Key.Equal(key.Public()) {
		return nil, jobs.WithHint(
			jobs.Errorf(jobs.Corrupt, "the certificate is for key %s, and the key is another", v.caller.ID.Short()),
			"join the grid again with a new token")
	}
	life := v.until.Sub(v.begins) - backdate
	return &Identity{
		Key: key, Chain: chain, Root: root,
		caller: v.caller, issuer: v.issuer, renew: v.until.Add(-life / 2),
	}, nil
}

// ID returns the key ID.
func (id *Identity) ID() jobs.KeyID { return id.caller.ID }

// Caller returns what the certificate says; Expired is never set, see NotAfter.
func (id *Identity) Caller() Caller { return id.caller }

// Issuer returns the public key of the issuing certificate, which signs vouchers.
func (id *Identity) Issuer() ed25519.PublicKey { return id.issuer }

// RenewAt returns when half of the certificate's life is over.
func (id *Identity) RenewAt() time.Time { return id.renew }

// GossipKey derives a grid's gossip key from its coordinator's own key, so that a backup of the keys has it too.
// It is that key and not the issuing one because Reissue replaces the latter.
func GossipKey(coordinator ed25519.PrivateKey) ([]byte, error) {
	return hkdf.Key(sha256.New, coordinator.Seed(), nil, "idlegrid gossip key v1", 32)
}

// NewKey makes a key.
func NewKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	return key, err
}

// KeyIDOf returns the key ID of a public key.
func KeyIDOf(key ed25519.PublicKey) jobs.KeyID { return jobs.KeyID(jobs.DigestOf(key)) }
