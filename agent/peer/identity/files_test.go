package identity

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"slices"
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

func folder(t *testing.T) *os.Root {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// joined returns an authority and a folder with an identity of its grid, joined as an agent joins.
func joined(t *testing.T) (*Authority, *os.Root) {
	t.Helper()
	a, err := Create(folder(t))
	if err != nil {
		t.Fatal(err)
	}
	dir := folder(t)
	if _, err := Load(dir); jobs.KindOf(err) != jobs.NotFound {
		t.Fatalf("loaded from an empty folder: %v", err)
	}
	key, made, err := EnsureKey(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again, anew, err := EnsureKey(dir); err != nil || !made || anew || !again.Equal(key) {
		t.Fatalf("another key the second time: %v", err)
	}
	request, err := Request(key)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := a.Issue(request, Grant{Role: peer.Agent, Class: peer.AlwaysOn}, CertificateLife)
	if err != nil {
		t.Fatal(err)
	}
	id, err := New(key, chain, a.Root())
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Save(dir); err != nil {
		t.Fatal(err)
	}
	return a, dir
}

func TestSaveAndLoad(t *testing.T) {
	a, dir := joined(t)
	id, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	if c := id.Caller(); c.Role != peer.Agent || c.Class != peer.AlwaysOn || c.Owner != c.ID.String() || id.ID() != c.ID {
		t.Errorf("loaded %+v", c)
	}
	if !id.Issuer().Equal(a.Issuer()) || !bytes.Equal(id.Root, a.Root()) {
		t.Error("loaded another grid")
	}
}

func TestLoadRefusesWhatDoesNotFit(t *testing.T) {
	other, otherDir := joined(t)
	otherKey, err := otherDir.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		file string
		text []byte
		kind jobs.ErrorKind
	}{
		"key of another":    {keyFile, otherKey, jobs.Corrupt},
		"root of another":   {rootFile, encodeCertificates(other.root), jobs.Denied},
		"empty key":         {keyFile, nil, jobs.Corrupt},
		"certificate, key":  {keyFile, encodeCertificates(other.root), jobs.Corrupt},
		"empty chain":       {chainFile, []byte("\n"), jobs.Corrupt},
		"key in chain":      {chainFile, otherKey, jobs.Corrupt},
		"text after chain":  {chainFile, append(encodeCertificates(other.root), "more"...), jobs.Corrupt},
		"chain too long":    {chainFile, encodeCertificates(slices.Repeat([][]byte{other.root}, 5)...), jobs.Corrupt},
		"file too large":    {chainFile, bytes.Repeat([]byte("\n"), maxFile+1), jobs.Corrupt},
		"garbled root":      {rootFile, encodeCertificates([]byte("garbage")), jobs.Denied},
		"issuer in chain":   {chainFile, encodeCertificates(other.issuing), jobs.Denied},
		"not PEM":           {keyFile, []byte("not PEM"), jobs.Corrupt},
		"PEM without a key": {keyFile, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), jobs.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			_, dir := joined(t)
			if err := dir.WriteFile(c.file, c.text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := Load(dir); err == nil || jobs.KindOf(err) != c.kind {
				t.Errorf("%v of kind %s, expected %s", err, jobs.KindOf(err), c.kind)
			}
		})
	}
}

func TestOpenRefusesAnIssuerWithAnotherKey(t *testing.T) {
	dir := folder(t)
	a, err := Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	text, err := encodeKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := dir.WriteFile(issuingFile, append(text, encodeCertificates(a.issuing)...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); jobs.KindOf(err) != jobs.Corrupt {
		t.Errorf("opened: %v", err)
	}
}

func FuzzDecodePEM(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	text, err := encodeKey(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(encodeCertificates([]byte("one"), []byte("two")))
	f.Add(append(text, encodeCertificates([]byte("one"))...))
	f.Add([]byte("-----BEGIN"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, _, err := decodeKey(text); err == nil {
			again, err := encodeKey(key)
			if err != nil {
				t.Fatal(err)
			}
			if same, _, err := decodeKey(again); err != nil || !same.Equal(key) {
				t.Errorf("another key after a round trip: %v", err)
			}
		}
		certs, err := decodeCertificates(text)
		if err != nil {
			return
		}
		again, err := decodeCertificates(encodeCertificates(certs...))
		if err != nil || !slices.EqualFunc(certs, again, bytes.Equal) {
			t.Errorf("other certificates after a round trip: %v", err)
		}
	})
}

func FuzzParseRequest(f *testing.F) {
	key, err := NewKey()
	if err != nil {
		f.Fatal(err)
	}
	der, err := Request(key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add(flip(der))
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		pub, err := ParseRequest(der)
		if err == nil && len(pub) != ed25519.PublicKeySize || err != nil && jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("key %x, %v", pub, err)
		}
	})
}
