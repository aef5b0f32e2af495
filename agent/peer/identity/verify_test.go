package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// forger has the issuing key and signs what Issue never would.
type forger struct {
	t testing.TB
	*Authority
	key ed25519.PrivateKey // of the leaves
}

func newForger(t testing.TB) *forger {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	}()
	a, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return &forger{t, a, key}
}

// leaf returns a good leaf's template, for the test to spoil.
func (f *forger) leaf() *x509.Certificate {
	f.t.Helper()
	g := Grant{Role: peer.Agent, Class: peer.Office, Owner: "alice"}
	template, err := f.leafTemplate(g, KeyIDOf(f.key.Public().(ed25519.PublicKey)), time.Hour)
	if err != nil {
		f.t.Fatal(err)
	}
	return template
}

func (f *forger) sign(template *x509.Certificate, key any) []byte {
	f.t.Helper()
	return f.signBy(template, key, f.cert, f.Authority.key)
}

func (f *forger) signBy(template *x509.Certificate, key any, parent *x509.Certificate, by ed25519.PrivateKey) []byte {
	f.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key, by)
	if err != nil {
		f.t.Fatal(err)
	}
	return der
}

func (f *forger) parse(der []byte) *x509.Certificate {
	f.t.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		f.t.Fatal(err)
	}
	return cert
}

func TestVerifyRefusesForgeries(t *testing.T) {
	f := newForger(t)
	pub := f.key.Public()
	good := f.sign(f.leaf(), pub)
	if _, err := VerifyChain([][]byte{good, f.issuing}, f.root, time.Now()); err != nil {
		t.Fatalf("the good leaf, before it is spoilt: %v", err)
	}
	spoil := func(change func(*x509.Certificate)) [][]byte {
		template := f.leaf()
		change(template)
		return [][]byte{f.sign(template, pub), f.issuing}
	}
	uri := func(text string) [][]byte {
		return spoil(func(c *x509.Certificate) {
			u, err := url.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			c.URIs = []*url.URL{u}
		})
	}
	grid, id, other := GridID(f.root), f.leaf().Subject.CommonName, strings.Repeat("0", 64)
	for name, chain := range map[string][][]byte{
		"no certificate":      nil,
		"empty certificate":   {{}},
		"garbage":             {[]byte("garbage"), f.issuing},
		"too many":            {good, f.issuing, f.issuing, f.issuing, f.issuing},
		"too large":           {make([]byte, maxCertificate+1)},
		"no issuer":           {good},
		"wrong order":         {f.issuing, good},
		"the issuer itself":   {f.issuing},
		"the root itself":     {f.root},
		"changed":             {flip(good), f.issuing},
		"another key in CN":   spoil(func(c *x509.Certificate) { c.Subject.CommonName = other }),
		"another key in URI":  uri("idlegrid://" + grid + "/agent/" + other + "?class=office&owner=alice"),
		"another grid in URI": uri("idlegrid://" + strings.Repeat("0", 32) + "/agent/" + id + "?class=office&owner=alice"),
		"another scheme":      uri("https://" + grid + "/agent/" + id + "?class=office&owner=alice"),
		"another order":       uri("idlegrid://" + grid + "/agent/" + id + "?owner=alice&class=office"),
		"more in the query":   uri("idlegrid://" + grid + "/agent/" + id + "?class=office&class=laptop&owner=alice"),
		"more in the path":    uri("idlegrid://" + grid + "/agent/" + id + "/x?class=office&owner=alice"),
		"fragment":            uri("idlegrid://" + grid + "/agent/" + id + "?class=office&owner=alice#x"),
		"unknown role":        uri("idlegrid://" + grid + "/emperor/" + id + "?owner=alice"),
		"anonymous role":      uri("idlegrid://" + grid + "/anonymous/" + id + "?owner=alice"),
		"agent without class": uri("idlegrid://" + grid + "/agent/" + id + "?owner=alice"),
		"operator with class": uri("idlegrid://" + grid + "/operator/" + id + "?class=office&owner=alice"),
		"no URI":              spoil(func(c *x509.Certificate) { c.URIs = nil }),
		"two URIs":            spoil(func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }),
		"a host name":         spoil(func(c *x509.Certificate) { c.DNSNames = []string{"example.org"} }),
		"client only":         spoil(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[:1] }),
		"server only":         spoil(func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }),
		"signs certificates":  spoil(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }),
		"an authority":        spoil(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign }),
		"an idle authority":   spoil(func(c *x509.Certificate) { c.IsCA = true }),
		"padded":              spoil(func(c *x509.Certificate) { c.ExtraExtensions = padding() }),
		"another kind of key": {f.sign(f.leaf(), ecdsaKey(t)), f.issuing},
		"signed by a leaf":    f.byLeaf(good),
		"below a sub-issuer":  f.bySubIssuer(),
		"never valid together": spoil(func(c *x509.Certificate) {
			c.NotBefore = time.Now().Add(issuingLife * 2)
			c.NotAfter = c.NotBefore.Add(1)
		}),
	} {
		t.Run(name, func(t *testing.T) {
			for _, verify := range []func() (Caller, error){
				func() (Caller, error) { return VerifyAuthor(chain, f.root) },
				func() (Caller, error) { return VerifyChain(chain, f.root, time.Now()) },
			} {
				c, err := verify()
				if jobs.KindOf(err) != jobs.Denied || c.Role != peer.Anonymous {
					t.Errorf("%+v, %v of kind %s", c, err, jobs.KindOf(err))
				}
			}
		})
	}
}

// padding is an extension that means nothing and is larger than a certificate may be.
func padding() []pkix.Extension {
	return []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Value: make([]byte, maxCertificate)}}
}

func flip(der []byte) []byte {
	der = append([]byte(nil), der...)
	der[len(der)-1] ^= 1
	return der
}

func ecdsaKey(t *testing.T) *ecdsa.PublicKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &key.PublicKey
}

// byLeaf returns a leaf signed with the key of another leaf: an agent that plays authority.
func (f *forger) byLeaf(leaf []byte) [][]byte {
	forged := f.signBy(f.leaf(), f.key.Public(), f.parse(leaf), f.key)
	return [][]byte{forged, leaf, f.issuing}
}

// bySubIssuer returns a leaf under a second issuing certificate below the first.
func (f *forger) bySubIssuer() [][]byte {
	template := authorityTemplate("idlegrid issuing", issuingLife)
	key, err := NewKey()
	if err != nil {
		f.t.Fatal(err)
	}
	sub := f.sign(template, key.Public())
	return [][]byte{f.signBy(f.leaf(), f.key.Public(), f.parse(sub), key), sub, f.issuing}
}

func TestVerifyRefusesAnotherGrid(t *testing.T) {
	f, other := newForger(t), newForger(t)
	chain := [][]byte{f.sign(f.leaf(), f.key.Public()), f.issuing}
	// A second root with the same name and a chain that brings its own root must not help.
	for _, c := range [][][]byte{chain, append(chain, f.root)} {
		_, err := VerifyAuthor(c, other.root)
		if jobs.KindOf(err) != jobs.Denied || !strings.Contains(err.Error(), "another grid") || jobs.HintOf(err) == "" {
			t.Errorf("%v", err)
		}
	}
	if _, err := IssuerKey(f.issuing, other.root); err == nil {
		t.Error("another grid's issuer was taken")
	}
	if _, err := IssuerKey(chain[0], f.root); err == nil {
		t.Error("a leaf was taken for an issuer")
	}
}

func TestDates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForger(t)
		made := time.Now()
		request, err := Request(f.key)
		if err != nil {
			t.Fatal(err)
		}
		chain, err := f.Issue(request, Grant{Role: peer.Submitter, Owner: "a"}, CertificateLife)
		if err != nil {
			t.Fatal(err)
		}
		id, err := New(f.key, chain, f.root)
		if err != nil {
			t.Fatal(err)
		}
		if want := made.Add(CertificateLife); !id.Caller().NotAfter.Equal(want) {
			t.Errorf("valid until %s, expected %s", id.Caller().NotAfter, want)
		}
		if want := made.Add(CertificateLife / 2); !id.RenewAt().Equal(want) {
			t.Errorf("renewed at %s, expected %s", id.RenewAt(), want)
		}
		for _, c := range []struct {
			after time.Duration
			kind  jobs.ErrorKind // Internal: no error
		}{
			{-25 * time.Hour, jobs.Denied},
			{-24*time.Hour - time.Second, jobs.Denied},
			{-24 * time.Hour, jobs.Internal},
			{0, jobs.Internal},
			{CertificateLife, jobs.Internal},
			{CertificateLife + time.Second, jobs.Expired},
			{30 * 365 * 24 * time.Hour, jobs.Expired},
		} {
			_, err := VerifyChain(chain, f.root, made.Add(c.after))
			if (err == nil) != (c.kind == jobs.Internal) || err != nil && (jobs.KindOf(err) != c.kind || jobs.HintOf(err) == "") {
				t.Errorf("after %s: %v, expected %s", c.after, err, c.kind)
			}
		}
		time.Sleep(30 * 365 * 24 * time.Hour)
		if _, err := VerifyAuthor(chain, f.root); err != nil {
			t.Errorf("an author whose certificate ended: %v", err)
		}
		if _, err := f.Issue(request, Grant{Role: peer.Submitter}, time.Hour); jobs.KindOf(err) != jobs.Expired {
			t.Errorf("issued under an ended certificate: %v", err)
		}
	})
}

func FuzzVerifyAuthor(f *testing.F) {
	dir, err := os.OpenRoot(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	a, err := Create(dir)
	if err != nil {
		f.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	forge := &forger{f, a, key}
	leaf := forge.sign(forge.leaf(), key.Public())
	f.Add(leaf, a.issuing)
	f.Add(a.issuing, a.root)
	f.Add([]byte{}, []byte{0x30})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c, err := VerifyAuthor([][]byte{first, second}, a.root)
		if err != nil {
			return
		}
		if string(first) != string(leaf) || c.ID != KeyIDOf(key.Public().(ed25519.PublicKey)) {
			t.Errorf("a leaf that was never signed was taken: %+v", c)
		}
	})
}
