package web

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
)

const (
	// CertificateFile is in the state folder: the key and the certificate that the page made for itself.
	CertificateFile = "page.pem"
	// certificateLife is what every browser takes, and renewBefore leaves the time to make the next one known.
	certificateLife = 800 * 24 * time.Hour
	renewBefore     = 60 * 24 * time.Hour
	// reloadEvery is how often files of --page-cert are looked at.
	reloadEvery = time.Minute
)

// certificate is what the page shows of itself.
type certificate struct {
	get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	own bool // made here, so that no browser trusts it yet
}

func (p *Page) openCertificate() (certificate, error) {
	if p.o.Cert != "" {
		return p.fromFiles()
	}
	own := &ownCertificate{dir: p.o.State, names: p.names.certify}
	_, err := own.get(nil)
	return certificate{get: own.get, own: true}, err
}

// fromFiles reads the office's certificate, and again when it was replaced. A pair that cannot be read leaves the last
// one in use.
func (p *Page) fromFiles() (certificate, error) {
	pair, err := tls.LoadX509KeyPair(p.o.Cert, p.o.Key)
	if err != nil {
		return certificate{}, jobs.Errorf(jobs.Invalid, "--page-cert and --page-key: %w", err)
	}
	var mu sync.Mutex
	read := time.Now()
	return certificate{get: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(read) > reloadEvery {
			read = time.Now()
			if next, err := tls.LoadX509KeyPair(p.o.Cert, p.o.Key); err == nil {
				pair = next
			} else {
				p.log.Warn("the page's certificate cannot be read again, the last one stays in use", "err", err)
			}
		}
		current := pair
		return &current, nil
	}}, nil
}

// ownCertificate is a certificate that signs itself. It is none of the grid's authority: browsers know no Ed25519, and
// whoever trusts this one trusts the page's names, and nobody who could vouch for others.
type ownCertificate struct {
	dir   *os.Root
	names []string

	mu   sync.Mutex // guards pair
	pair *tls.Certificate
}

func (c *ownCertificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pair == nil {
		text, err := c.dir.ReadFile(CertificateFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read the page's certificate: %w", err)
		}
		if pair, err := tls.X509KeyPair(text, text); err == nil {
			c.pair = &pair
		}
	}
	if c.pair != nil && c.good(c.pair.Leaf) {
		return c.pair, nil
	}
	text, err := makeCertificate(c.names, time.Now())
	if err == nil {
		err = durable.WriteFile(c.dir, CertificateFile, text, 0o600)
	}
	if err != nil {
		return nil, fmt.Errorf("make the page's certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(text, text)
	c.pair = &pair
	return c.pair, err
}

// good reports whether a certificate is for all names, and for a while yet.
func (c *ownCertificate) good(leaf *x509.Certificate) bool {
	return time.Until(leaf.NotAfter) > renewBefore &&
		!slices.ContainsFunc(c.names, func(name string) bool { return leaf.VerifyHostname(name) != nil })
}

// makeCertificate returns a key and a certificate for it, as PEM.
func makeCertificate(names []string, now time.Time) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "idlegrid page of " + names[0]},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.Add(certificateLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip, err := netip.ParseAddr(name); err == nil {
			template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...), nil
}
