// Package identitytest makes grids and identities for tests. In virtual time, make them inside the bubble:
// their certificates begin with its clock.
package identitytest

import (
	"os"
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
)

// Grid is a grid's authority in a folder that the test removes.
type Grid struct {
	*identity.Authority
	Dir *os.Root

	t testing.TB
}

// NewGrid makes a grid.
func NewGrid(t testing.TB) *Grid {
	t.Helper()
	dir := Folder(t)
	a, err := identity.Create(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &Grid{Authority: a, Dir: dir, t: t}
}

// Folder opens an empty folder that the test removes.
func Folder(t testing.TB) *os.Root {
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

// Identity makes an identity with a new key.
func (g *Grid) Identity(grant identity.Grant) *identity.Identity {
	g.t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		g.t.Fatal(err)
	}
	request, err := identity.Request(key)
	if err != nil {
		g.t.Fatal(err)
	}
	chain, err := g.Issue(request, grant, identity.CertificateLife)
	if err != nil {
		g.t.Fatal(err)
	}
	id, err := identity.New(key, chain, g.Root())
	if err != nil {
		g.t.Fatal(err)
	}
	return id
}

// Agent makes an always-on agent.
func (g *Grid) Agent() *identity.Identity {
	g.t.Helper()
	return g.Identity(identity.Grant{Role: peer.Agent, Class: peer.AlwaysOn})
}

// Role makes an identity of a role other than an agent's.
func (g *Grid) Role(role peer.Role, owner string) *identity.Identity {
	g.t.Helper()
	return g.Identity(identity.Grant{Role: role, Owner: owner})
}
