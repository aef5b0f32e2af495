package identity

import (
	"crypto/x509"
	"net/url"
	"strings"
	"unicode"
	"unicode/utf8"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

const (
	// maxOwner bounds an owner's name, in bytes.
	maxOwner = 128

	scheme = "idlegrid"
)

// Grant is what a token promises and a certificate says: what its holder may be.
type Grant struct {
	Role  peer.Role
	Class peer.Class // of agents only
	Owner string     // a person or department; empty: each key its own
}

// check refuses what no certificate may say.
func (g Grant) check() error {
	switch {
	case g.Role < peer.Agent || g.Role > peer.Operator:
		return jobs.Errorf(jobs.Invalid, "%s is no role to give away", g.Role)
	case g.Role == peer.Agent && (g.Class < peer.AlwaysOn || g.Class > peer.Laptop):
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "an agent without a class"),
			"name one of always-on, office and laptop")
	case g.Role != peer.Agent && g.Class != 0:
		return jobs.Errorf(jobs.Invalid, "class %s for role %s: only agents have one", g.Class, g.Role)
	}
	return checkOwner(g.Owner)
}

func checkOwner(owner string) error {
	if len(owner) > maxOwner {
		return jobs.Errorf(jobs.Invalid, "owner of %d bytes, at most %d", len(owner), maxOwner)
	}
	unprintable := func(r rune) bool { return !unicode.IsPrint(r) }
	if !utf8.ValidString(owner) || strings.ContainsFunc(owner, unprintable) {
		return jobs.Errorf(jobs.Invalid, "owner %q has characters that cannot be printed", owner)
	}
	return nil
}

// GridID names a grid by its root certificate, short enough for the host part of a URI.
func GridID(root []byte) string { return jobs.DigestOf(root).String()[:32] }

// uri returns the one way to write a grant into a certificate, as in
// idlegrid://GRID/agent/KEYID?class=office&owner=alice.
func (g Grant) uri(grid string, id jobs.KeyID) *url.URL {
	query := url.Values{}
	if g.Class != 0 {
		query.Set("class", g.Class.String())
	}
	query.Set("owner", g.Owner)
	return &url.URL{
		Scheme: scheme, Host: grid, Path: "/" + g.Role.String() + "/" + id.String(), RawQuery: query.Encode(),
	}
}

// grantOf reads a leaf's grant. It takes the form that uri writes and nothing else: one URI, no other name,
// for the key's own ID and the grid at hand.
func grantOf(leaf *x509.Certificate, grid string, id jobs.KeyID) (Grant, error) {
	names := len(leaf.DNSNames) + len(leaf.EmailAddresses) + len(leaf.IPAddresses)
	if len(leaf.URIs) != 1 || names != 0 {
		return Grant{}, jobs.Errorf(jobs.Denied, "a certificate with %d names, expected one URI", len(leaf.URIs)+names)
	}
	u := leaf.URIs[0]
	role, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	query := u.Query()
	var g Grant
	var err error
	if g.Role, err = peer.ParseRole(role); err != nil {
		return Grant{}, err
	}
	if class := query.Get("class"); class != "" {
		if g.Class, err = peer.ParseClass(class); err != nil {
			return Grant{}, err
		}
	}
	g.Owner = query.Get("owner")
	if err := g.check(); err != nil {
		return Grant{}, err
	}
	if want := g.uri(grid, id).String(); u.String() != want {
		return Grant{}, jobs.Errorf(jobs.Denied, "a certificate for %.200q, expected %.200q", u, want)
	}
	if leaf.Subject.CommonName != id.String() {
		return Grant{}, jobs.Errorf(jobs.Denied, "a certificate for %.80q with the key of %s", leaf.Subject.CommonName, id)
	}
	return g, nil
}
