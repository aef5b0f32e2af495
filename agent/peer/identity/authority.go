package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"os"
	"time"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
)

// Files of an authority in the coordinator's state folder, beside rootFile.
const (
	rootKeyFile = "root-key.pem"
	issuingFile = "issuing.pem" // key and certificate in one, so that they are replaced together
)

const (
	rootLife    = 20 * 365 * 24 * time.Hour
	issuingLife = 5 * 365 * 24 * time.Hour

	// maxRequest bounds a certificate request, in bytes.
	maxRequest = 4 << 10
)

// Authority issues certificates, vouchers and tokens with the issuing key. It is safe for concurrent use: it
// never changes.
type Authority struct {
	root    []byte
	issuing []byte
	cert    *x509.Certificate // of issuing
	key     ed25519.PrivateKey
}

// Create makes a new grid's root and issuing certificates in a folder that has none. The root's key lies in
// root-key.pem; that file may be moved to a safe place, only Reissue needs it.
func Create(dir *os.Root) (*Authority, error) {
	for _, name := range []string{rootFile, rootKeyFile, issuingFile, keyFile, chainFile} {
		if _, err := dir.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return nil, jobs.WithHint(jobs.Errorf(jobs.Exists, "%s has a %s already", dir.Name(), name),
				"a new grid needs a folder of its own; what is there may be the only copy of a grid's keys")
		}
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(dir, rootKeyFile, text, secret); err != nil {
		return nil, err
	}
	template := authorityTemplate("idlegrid root", rootLife)
	template.MaxPathLen = 1
	root, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	a, err := issueIssuing(dir, root, key)
	if err != nil {
		return nil, err
	}
	// The root's certificate is last: without it there is no grid here and Create starts anew.
	return a, durable.WriteFile(dir, rootFile, encodeCertificates(root), public)
}

// Open reads the authority of a folder. It works without the root's key.
func Open(dir *os.Root) (*Authority, error) {
	root, err := loadCertificates(dir, rootFile)
	if err != nil {
		return nil, err
	}
	text, err := readFile(dir, issuingFile, true)
	if err != nil {
		return nil, err
	}
	key, rest, err := decodeKey(text)
	if err != nil {
		return nil, at(err, dir, issuingFile)
	}
	certs, err := decodeCertificates(rest)
	if err != nil {
		return nil, at(err, dir, issuingFile)
	}
	return newAuthority(root[0], certs[0], key)
}

// Reissue replaces the issuing key and certificate by new ones under the root's key: when they end, are lost,
// or somebody else has them. Machines keep their certificates, and tokens not yet used are void.
func Reissue(dir *os.Root) (*Authority, error) {
	root, err := loadCertificates(dir, rootFile)
	if err != nil {
		return nil, err
	}
	text, err := readFile(dir, rootKeyFile, true)
	if jobs.KindOf(err) == jobs.NotFound {
		return nil, jobs.WithHint(err, "put the root's key back for the time of this command")
	}
	if err != nil {
		return nil, err
	}
	key, _, err := decodeKey(text)
	if err != nil {
		return nil, at(err, dir, rootKeyFile)
	}
	return issueIssuing(dir, root[0], key)
}

func issueIssuing(dir *os.Root, root []byte, rootKey ed25519.PrivateKey) (*Authority, error) {
	parent, err := parse(root)
	if err != nil {
		return nil, err
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	template := authorityTemplate("idlegrid issuing", issuingLife)
	template.MaxPathLenZero = true
	cert, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), rootKey)
	if err != nil {
		return nil, jobs.Errorf(jobs.Internal, "issue the issuing certificate: %w", err)
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, err
	}
	a, err := newAuthority(root, cert, key)
	if err != nil {
		return nil, err
	}
	return a, durable.WriteFile(dir, issuingFile, append(text, encodeCertificates(cert)...), secret)
}

func authorityTemplate(name string, life time.Duration) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
}

func newAuthority(root, issuing []byte, key ed25519.PrivateKey) (*Authority, error) {
	issuer, err := IssuerKey(issuing, root)
	if err != nil {
		return nil, err
	}
	if !issuer.Equal(key.Public()) {
		return nil, jobs.Errorf(jobs.Corrupt, "the issuing certificate is for another key")
	}
	cert, err := parse(issuing)
	if err != nil {
		return nil, err
	}
	return &Authority{root: bytes.Clone(root), issuing: bytes.Clone(issuing), cert: cert, key: key}, nil
}

// Root returns the root's certificate in DER.
func (a *Authority) Root() []byte { return a.root }

// Ends returns when the issuing certificate ends, and with it all that it has signed.
func (a *Authority) Ends() time.Time { return a.cert.NotAfter }

// Issuer returns the public key that vouchers are verified with.
func (a *Authority) Issuer() ed25519.PublicKey { return a.key.Public().(ed25519.PublicKey) }

// Issue answers a certificate request with a chain, leaf first. Of the request only the key counts: what its
// holder may be is decided here. An empty owner becomes the key ID, so that each such key is an owner of its
// own.
func (a *Authority) Issue(request []byte, g Grant, ttl time.Duration) ([][]byte, error) {
	key, err := ParseRequest(request)
	if err != nil {
		return nil, err
	}
	if err := g.check(); err != nil {
		return nil, err
	}
	if ttl <= 0 || ttl > CertificateLife {
		return nil, jobs.Errorf(jobs.Invalid, "a certificate for %s, expected at most %s", ttl, CertificateLife)
	}
	id := KeyIDOf(key)
	if g.Owner == "" {
		g.Owner = id.String()
	}
	template, err := a.leafTemplate(g, id, ttl)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, jobs.Errorf(jobs.Internal, "issue a certificate: %w", err)
	}
	return [][]byte{leaf, a.issuing}, nil
}

func (a *Authority) leafTemplate(g Grant, id jobs.KeyID, ttl time.Duration) (*x509.Certificate, error) {
	now := time.Now()
	until := now.Add(ttl)
	if a.cert.NotAfter.Before(until) {
		until = a.cert.NotAfter
	}
	if !until.After(now) {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Expired, "the issuing certificate ended at %s", until),
			"bring root-key.pem back and run: gridcoordinator reissue")
	}
	t := &x509.Certificate{
		Subject:               pkix.Name{CommonName: id.String()},
		NotBefore:             now.Add(-backdate),
		NotAfter:              until,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	t.URIs = append(t.URIs, g.uri(GridID(a.root), id))
	return t, nil
}

// Request makes a certificate request (PKCS #10 in DER) for a key.
func Request(key ed25519.PrivateKey) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// ParseRequest returns the key of a certificate request, if it was signed with that key.
func ParseRequest(der []byte) (ed25519.PublicKey, error) {
	if len(der) > maxRequest {
		return nil, jobs.Errorf(jobs.Invalid, "a certificate request of %d bytes, at most %d", len(der), maxRequest)
	}
	request, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "read certificate request: %w", err)
	}
	key, ok := request.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, jobs.Errorf(jobs.Invalid, "a certificate request for a key of %s, expected Ed25519",
			request.PublicKeyAlgorithm)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "verify certificate request: %w", err)
	}
	return key, nil
}
