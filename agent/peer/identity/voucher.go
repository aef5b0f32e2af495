package identity

import (
	"crypto/ed25519"
	"encoding/binary"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// Voucher is the authority's short word on a key, for where no certificate fits: the node meta of gossip has
// 512 bytes. It says no more than the certificate does.
type Voucher struct {
	Key      ed25519.PublicKey
	Role     peer.Role
	Class    peer.Class
	NotAfter time.Time // in whole seconds
}

// voucherContext keeps a voucher's signature from being taken for another.
const voucherContext = "idlegrid voucher v1\x00"

// message returns what is signed. All fields have fixed sizes, so no two vouchers have one message.
func (v Voucher) message() []byte {
	m := append([]byte(voucherContext), v.Key...)
	m = append(m, byte(v.Role), byte(v.Class))
	return binary.BigEndian.AppendUint64(m, uint64(v.NotAfter.Unix()))
}

// Voucher signs a voucher; the result has 64 bytes.
func (a *Authority) Voucher(v Voucher) ([]byte, error) {
	if len(v.Key) != ed25519.PublicKeySize {
		return nil, jobs.Errorf(jobs.Invalid, "a voucher for a key of %d bytes", len(v.Key))
	}
	return ed25519.Sign(a.key, v.message()), nil
}

// VerifyVoucher checks a voucher's signature by any of the issuing keys (Identity.Issuer, IssuerKey) and its
// date.
func VerifyVoucher(v Voucher, signature []byte, issuers []ed25519.PublicKey, now time.Time) error {
	if len(v.Key) != ed25519.PublicKeySize {
		return jobs.Errorf(jobs.Denied, "a voucher for a key of %d bytes", len(v.Key))
	}
	signed := func(k ed25519.PublicKey) bool { return ed25519.Verify(k, v.message(), signature) }
	if !slices.ContainsFunc(issuers, signed) {
		return jobs.Errorf(jobs.Denied, "the voucher for %s is not signed by this grid", KeyIDOf(v.Key).Short())
	}
	if now.After(v.NotAfter) {
		return jobs.Errorf(jobs.Expired, "the voucher for %s ended at %s",
			KeyIDOf(v.Key).Short(), v.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
