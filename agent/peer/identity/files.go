package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"io/fs"
	"os"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
)

// Files of an identity in a state folder.
const (
	keyFile   = "key.pem"
	chainFile = "chain.pem"
	rootFile  = "root.pem"
)

const (
	blockKey         = "PRIVATE KEY"
	blockCertificate = "CERTIFICATE"

	// maxFile bounds a file of keys or certificates.
	maxFile = 64 << 10

	secret fs.FileMode = 0o600
	public fs.FileMode = 0o644
)

// EnsureKey returns the key in a state folder, and makes one where there is none. A machine keeps its key
// from before it asks for a certificate: asking again after a crash is then asking for the same.
func EnsureKey(dir *os.Root) (key ed25519.PrivateKey, made bool, err error) {
	key, err = LoadKey(dir)
	if jobs.KindOf(err) != jobs.NotFound {
		return key, false, err
	}
	if key, err = NewKey(); err != nil {
		return nil, false, err
	}
	text, err := encodeKey(key)
	if err != nil {
		return nil, false, err
	}
	return key, true, durable.WriteFile(dir, keyFile, text, secret)
}

// RemoveKey removes the key of a state folder, for one that got no certificate.
func RemoveKey(dir *os.Root) error { return dir.Remove(keyFile) }

// Save writes the identity into a state folder. The chain is last: with it the identity is whole.
func (id *Identity) Save(dir *os.Root) error {
	key, err := encodeKey(id.Key)
	if err != nil {
		return err
	}
	if err := durable.WriteFile(dir, keyFile, key, secret); err != nil {
		return err
	}
	if err := durable.WriteFile(dir, rootFile, encodeCertificates(id.Root), public); err != nil {
		return err
	}
	return durable.WriteFile(dir, chainFile, encodeCertificates(id.Chain...), public)
}

// Remove deletes the identity of a state folder. The chain is first: without it there is no identity.
func Remove(dir *os.Root) error {
	var err error
	for _, name := range []string{chainFile, keyFile, rootFile} {
		if e := dir.Remove(name); !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// Load reads the identity of a state folder; without one the error is of kind jobs.NotFound. Its dates are
// not looked at, as in New.
func Load(dir *os.Root) (*Identity, error) {
	chain, err := loadCertificates(dir, chainFile)
	if err != nil {
		return nil, err
	}
	root, err := loadCertificates(dir, rootFile)
	if err != nil {
		return nil, err
	}
	key, err := LoadKey(dir)
	if err != nil {
		return nil, err
	}
	id, err := New(key, chain, root[0])
	if err != nil {
		return nil, jobs.Errorf(jobs.KindOf(err), "load identity from %s: %w", dir.Name(), err)
	}
	return id, nil
}

// LoadKey returns the key in a state folder; without one the error is of kind jobs.NotFound.
func LoadKey(dir *os.Root) (ed25519.PrivateKey, error) {
	text, err := readFile(dir, keyFile, true)
	if err != nil {
		return nil, err
	}
	key, _, err := decodeKey(text)
	return key, at(err, dir, keyFile)
}

func loadCertificates(dir *os.Root, name string) ([][]byte, error) {
	text, err := readFile(dir, name, false)
	if err != nil {
		return nil, err
	}
	certs, err := decodeCertificates(text)
	return certs, at(err, dir, name)
}

// at says in which file an error was.
func at(err error, dir *os.Root, name string) error {
	if err == nil {
		return nil
	}
	return jobs.WithHint(jobs.Errorf(jobs.KindOf(err), "read %s in %s: %w", name, dir.Name(), err),
		"restore it from a copy, or join the grid again with a new token, in another folder")
}

// readFile reads a small file. A secret one must not be readable by others.
func readFile(dir *os.Root, name string, private bool) (text []byte, err error) {
	f, err := dir.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, jobs.Errorf(jobs.NotFound, "no %s in %s", name, dir.Name())
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if private {
		if err := checkPrivate(info, dir.Name(), name); err != nil {
			return nil, err
		}
	}
	text, err = io.ReadAll(io.LimitReader(f, maxFile+1))
	if len(text) > maxFile {
		return nil, jobs.Errorf(jobs.Corrupt, "%s in %s is larger than %d bytes", name, dir.Name(), maxFile)
	}
	return text, err
}

func encodeKey(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der}), nil
}

// decodeKey reads an Ed25519 key and returns what follows it.
func decodeKey(text []byte) (ed25519.PrivateKey, []byte, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != blockKey {
		return nil, nil, jobs.Errorf(jobs.Corrupt, "no PEM block %q", blockKey)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, jobs.Errorf(jobs.Corrupt, "parse key: %w", err)
	}
	ed, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, nil, jobs.Errorf(jobs.Corrupt, "a key of another kind than Ed25519")
	}
	return ed, rest, nil
}

func encodeCertificates(certs ...[]byte) []byte {
	var text []byte
	for _, der := range certs {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der})...)
	}
	return text
}

// decodeCertificates reads at least one certificate and nothing else, and parses none.
func decodeCertificates(text []byte) ([][]byte, error) {
	var certs [][]byte
	for len(bytes.TrimSpace(text)) > 0 {
		block, rest := pem.Decode(text)
		if block == nil || block.Type != blockCertificate || len(certs) == maxChain {
			return nil, jobs.Errorf(jobs.Corrupt, "expected 1 to %d PEM blocks %q", maxChain, blockCertificate)
		}
		certs, text = append(certs, block.Bytes), rest
	}
	if len(certs) == 0 {
		return nil, jobs.Errorf(jobs.Corrupt, "no PEM block %q", blockCertificate)
	}
	return certs, nil
}
