package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"idlegrid/jobs"
)

// Bounds of a chain, so that nobody makes a peer parse or verify much: the grid's own have two certificates
// of about 500 bytes.
const (
	maxChain       = 4
	maxCertificate = 4 << 10
)

// VerifyChain returns who a chain (leaf first, without the root) belongs to, if it leads to the root and is
// valid at the given time. An expired one is an error of kind jobs.Expired.
func VerifyChain(chain [][]byte, root []byte, now time.Time) (Caller, error) {
	v, err := verify(chain, root)
	if err != nil {
		return Caller{}, err
	}
	if err := v.at(now); err != nil {
		return Caller{}, err
	}
	return v.caller, nil
}

// VerifyAuthor returns who a chain belongs to without looking at today's date: when a record was signed
// cannot be proven, so its author's certificate counts for ever. The certificates of the chain must still
// have been valid all at one time.
func VerifyAuthor(chain [][]byte, root []byte) (Caller, error) {
	v, err := verify(chain, root)
	return v.caller, err
}

// verified is what a chain that leads to the root says.
type verified struct {
	begins      time.Time         // the leaf
	issuer      ed25519.PublicKey // of the leaf
	caller      Caller
	from, until time.Time // when all of the chain and the root is valid
}

// at refuses a time outside the validity.
func (v verified) at(now time.Time) error {
	if now.Before(v.from) {
		return jobs.WithHint(jobs.Errorf(jobs.Denied, "the certificate of %s is valid from %s only",
			v.caller.ID.Short(), v.from.UTC().Format(time.RFC3339)), "compare the clocks of both machines")
	}
	if now.After(v.until) {
		return jobs.WithHint(jobs.Errorf(jobs.Expired, "the certificate of %s ended at %s",
			v.caller.ID.Short(), v.until.UTC().Format(time.RFC3339)),
			"it renews itself as soon as the coordinator can be reached; if it does not, compare the clocks")
	}
	return nil
}

// verify checks everything about a chain but today's date. What it says follows from the bytes alone, so that a chain
// that was good once is good for ever and remembered.
func verify(chain [][]byte, root []byte) (verified, error) {
	if len(chain) == 0 || len(chain) > maxChain {
		return verified{}, jobs.Errorf(jobs.Denied, "a chain of %d certificates, expected 1 to %d", len(chain), maxChain)
	}
	for _, der := range append(slices.Clone(chain), root) {
		if err := bounded(der); err != nil {
			return verified{}, err
		}
	}
	name := nameOf(chain, root)
	if v, ok := verifiedChains.get(name); ok {
		return v, nil
	}
	v, err := verifyAnew(chain, root)
	if err == nil {
		verifiedChains.put(name, v)
	}
	return v, err
}

// verifyAnew is verify for a chain that nothing is known of.
func verifyAnew(chain [][]byte, root []byte) (verified, error) {
	certs := make([]*x509.Certificate, 0, len(chain)+1)
	for _, der := range append(slices.Clone(chain), root) {
		cert, err := parse(der)
		if err != nil {
			return verified{}, err
		}
		certs = append(certs, cert)
	}
	v := verified{begins: certs[0].NotBefore}
	v.from, v.until = common(certs)
	path, err := pathToRoot(certs, v.from)
	if err != nil {
		return verified{}, err
	}
	v.issuer, _ = path[1].PublicKey.(ed25519.PublicKey)
	v.caller, err = callerOf(certs[0], root)
	v.caller.NotAfter = v.until
	// The keys of parsed certificates are parts of the bytes that the caller may use for something else.
	v.issuer, v.caller.Key = slices.Clone(v.issuer), slices.Clone(v.caller.Key)
	return v, err
}

// bounded refuses a certificate that is too large to look at.
func bounded(der []byte) error {
	if len(der) > maxCertificate {
		return jobs.Errorf(jobs.Denied, "a certificate of %d bytes, at most %d", len(der), maxCertificate)
	}
	return nil
}

// parse reads one certificate with an Ed25519 key; the grid uses no other.
func parse(der []byte) (*x509.Certificate, error) {
	if err := bounded(der); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, jobs.Errorf(jobs.Denied, "read certificate: %w", err)
	}
	if _, ok := cert.PublicKey.(ed25519.PublicKey); !ok {
		return nil, jobs.Errorf(jobs.Denied, "a certificate with a key of %s, expected Ed25519", cert.PublicKeyAlgorithm)
	}
	return cert, nil
}

// common returns the time in which all certificates are valid; it may be empty.
func common(certs []*x509.Certificate) (from, until time.Time) {
	from, until = certs[0].NotBefore, certs[0].NotAfter
	for _, c := range certs[1:] {
		if c.NotBefore.After(from) {
			from = c.NotBefore
		}
		if c.NotAfter.Before(until) {
			until = c.NotAfter
		}
	}
	return from, until
}

// pathToRoot returns the way from the first certificate to the last, which alone is trusted.
func pathToRoot(certs []*x509.Certificate, at time.Time) ([]*x509.Certificate, error) {
	last := len(certs) - 1
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(certs[last])
	for _, c := range certs[1:last] {
		between.AddCert(c)
	}
	paths, err := certs[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: at,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Denied, "the certificate is of another grid: %w", err),
			"compare the grid that both machines joined")
	}
	if err != nil {
		return nil, jobs.Errorf(jobs.Denied, "verify certificate: %w", err)
	}
	if len(paths[0]) < 2 {
		return nil, jobs.Errorf(jobs.Denied, "the root certificate is nobody's own")
	}
	return paths[0], nil
}

// callerOf reads a leaf whose signatures are verified.
func callerOf(leaf *x509.Certificate, root []byte) (Caller, error) {
	if leaf.IsCA || !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) ||
		leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		return Caller{}, jobs.Errorf(jobs.Denied, "a certificate for other uses than to be a client and a server")
	}
	key, _ := leaf.PublicKey.(ed25519.PublicKey)
	id := KeyIDOf(key)
	g, err := grantOf(leaf, GridID(root), id)
	if err != nil {
		return Caller{}, jobs.Errorf(jobs.Denied, "read certificate: %w", err)
	}
	return Caller{ID: id, Key: key, Role: g.Role, Class: g.Class, Owner: g.Owner}, nil
}

// IssuerKey returns the public key of an issuing certificate of the grid, which signs vouchers.
func IssuerKey(issuing, root []byte) (ed25519.PublicKey, error) {
	certs := make([]*x509.Certificate, 0, 2)
	for _, der := range [][]byte{issuing, root} {
		cert, err := parse(der)
		if err != nil {
			return nil, err
		}
		certs = append(certs, cert)
	}
	from, _ := common(certs)
	if _, err := pathToRoot(certs, from); err != nil {
		return nil, err
	}
	if !certs[0].IsCA || !certs[0].MaxPathLenZero {
		return nil, jobs.Errorf(jobs.Denied, "the certificate issues no others")
	}
	key, _ := certs[0].PublicKey.(ed25519.PublicKey)
	return key, nil
}
