package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

const (
	tokenPrefix  = "grid1."
	tokenContext = "idlegrid token v1\x00"

	// defaultTokenLife and maxTokenLife bound how long a stolen token is of use.
	defaultTokenLife = 24 * time.Hour
	maxTokenLife     = 30 * 24 * time.Hour

	maxToken     = 8 << 10 // characters
	maxAddresses = 16
	maxAddress   = 256 // bytes
)

// TokenSpec is what a token is made from.
type TokenSpec struct {
	Grant
	TTL       time.Duration // zero: one day; at most 30 days
	Addresses []string      // host:port of the coordinator, at most 16
}

// Token lets one machine or person into the grid, once: the coordinator keeps the IDs that were used. Who
// holds the text holds the right, so it is shown to nobody else and never logged.
type Token struct {
	ID string // random; names the token in logs and among those used
	Grant
	Minted    time.Time // by the clock of where it was made, in seconds
	Expires   time.Time
	Addresses []string
	Root      jobs.Digest // of the grid's root certificate: the newcomer trusts no other

	payload, signature []byte
}

// tokenPayload is the signed part of a token's text.
type tokenPayload struct {
	ID        string   `json:"i"`
	Role      string   `json:"r"`
	Class     string   `json:"c,omitempty"`
	Owner     string   `json:"o,omitempty"`
	Minted    int64    `json:"m"` // seconds since 1970
	Expires   int64    `json:"e"` // seconds since 1970
	Addresses []string `json:"a"`
	Root      string   `json:"p"`
}

// Mint makes a token's text.
func (a *Authority) Mint(spec TokenSpec) (string, error) {
	if spec.TTL == 0 {
		spec.TTL = defaultTokenLife
	}
	if spec.TTL < 0 || spec.TTL > maxTokenLife {
		return "", jobs.Errorf(jobs.Invalid, "a token for %s, expected at most %s", spec.TTL, maxTokenLife)
	}
	if err := spec.check(); err != nil {
		return "", err
	}
	if err := checkAddresses(spec.Addresses); err != nil {
		return "", err
	}
	now := time.Now()
	payload, err := json.Marshal(tokenPayload{
		ID: rand.Text(), Role: spec.Role.String(), Class: spec.Class.String(), Owner: spec.Owner,
		Minted: now.Unix(), Expires: now.Add(spec.TTL).Unix(), Addresses: spec.Addresses, Root: jobs.DigestOf(a.root).String(),
	})
	if err != nil {
		return "", err
	}
	signature := ed25519.Sign(a.key, append([]byte(tokenContext), payload...))
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(payload, signature...)), nil
}

func checkAddresses(addresses []string) error {
	if len(addresses) == 0 || len(addresses) > maxAddresses {
		return jobs.Errorf(jobs.Invalid, "a token with %d addresses, expected 1 to %d", len(addresses), maxAddresses)
	}
	for _, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" || len(address) > maxAddress {
			return jobs.Errorf(jobs.Invalid, "a token with the address %.300q, expected host:port", address)
		}
	}
	return nil
}

// ParseToken reads a token's text. A newcomer cannot check its signature or trust its date: the coordinator
// does (CheckToken), and proves by Root that it is the one meant. White space that came in by copying is
// skipped.
func ParseToken(text string) (Token, error) {
	if len(text) > maxToken {
		return Token{}, garbled("%d characters, expected at most %d", len(text), maxToken)
	}
	encoded, ok := strings.CutPrefix(strings.Join(strings.Fields(text), ""), tokenPrefix)
	if !ok {
		return Token{}, garbled("it does not begin with %q", tokenPrefix)
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if err != nil || len(raw) <= ed25519.SignatureSize {
		return Token{}, garbled("a part of it is missing or changed")
	}
	cut := len(raw) - ed25519.SignatureSize
	t := Token{payload: raw[:cut], signature: raw[cut:]}
	if err := t.read(); err != nil {
		return Token{}, err
	}
	return t, nil
}

// garbled says what is wrong with a token's text without repeating it.
func garbled(format string, args ...any) error {
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "this is no join token: "+format, args...),
		"copy the whole line that `gridcoordinator token` printed")
}

// read fills the token from its payload. JSON's own errors would repeat parts of the token.
func (t *Token) read() error {
	var p tokenPayload
	d := json.NewDecoder(bytes.NewReader(t.payload))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return garbled("a part of it is missing or changed")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) { // More would overlook a closing brace
		return garbled("a part of it is missing or changed")
	}
	var err error
	if t.Role, err = peer.ParseRole(p.Role); err != nil {
		return garbled("its role is none of this version")
	}
	if p.Class != "" {
		if t.Class, err = peer.ParseClass(p.Class); err != nil {
			return garbled("its class is none of this version")
		}
	}
	if t.Root, err = jobs.ParseDigest(p.Root); err != nil || len(p.ID) == 0 || len(p.ID) > 64 {
		return garbled("a part of it is missing or changed")
	}
	t.ID, t.Owner, t.Addresses = p.ID, p.Owner, p.Addresses
	t.Minted, t.Expires = time.Unix(p.Minted, 0), time.Unix(p.Expires, 0)
	if t.check() != nil || checkAddresses(t.Addresses) != nil {
		return garbled("a part of it is missing or changed")
	}
	return nil
}

// CheckToken reads a token's text and checks that this authority made it and that it has not expired. That
// it is used only once is the caller's to check, by its ID.
func (a *Authority) CheckToken(text string) (Token, error) {
	t, err := ParseToken(text)
	if err != nil {
		return Token{}, err
	}
	const ask = "ask the operator for a new one: `gridcoordinator token`"
	if t.Root != jobs.DigestOf(a.root) {
		return Token{}, jobs.WithHint(jobs.Errorf(jobs.Denied, "the join token is of another grid"), ask)
	}
	if !ed25519.Verify(a.Issuer(), append([]byte(tokenContext), t.payload...), t.signature) {
		return Token{}, jobs.WithHint(
			jobs.Errorf(jobs.Denied, "the join token was changed, or is older than the issuing certificate"), ask)
	}
	if !time.Now().Before(t.Expires) {
		return Token{}, jobs.WithHint(
			jobs.Errorf(jobs.Expired, "the join token expired at %s", t.Expires.UTC().Format(time.RFC3339)), ask)
	}
	return t, nil
}
