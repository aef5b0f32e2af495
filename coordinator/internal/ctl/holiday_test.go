package ctl

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
)

// TestBackFromAHoliday uses a login whose certificate has ended: the coordinator renews it, and without the
// coordinator the person learns what is the matter.
func TestBackFromAHoliday(t *testing.T) {
	g := NewGrid(t)
	folder := filepath.Join(t.TempDir(), "login")
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: &out, format: formatTable, config: folder}
	if err := a.login(t.Context(), g.Token(identity.Grant{Role: peer.Submitter}, time.Hour)); err != nil {
		t.Fatal(err)
	}
	first := g.expire(folder)
	if err := a.nodes(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if now := loadIdentity(t, folder); !now.Caller().NotAfter.After(first.Caller().NotAfter.Add(24*time.Hour)) || now.ID() != first.ID() {
		t.Errorf("the certificate of %s ends at %s, it was %s of %s", now.ID(), now.Caller().NotAfter, first.Caller().NotAfter, first.ID())
	}

	g.expire(folder)
	grid, err := os.ReadFile(filepath.Join(folder, "grid.json")) // the test's own
	if err != nil {
		t.Fatal(err)
	}
	nobody := bytes.ReplaceAll(grid, []byte(g.coordinator.Address()), []byte("127.0.0.1:1"))
	if bytes.Equal(nobody, grid) {
		t.Fatalf("no address of the coordinator in %s", grid)
	}
	if err := os.WriteFile(filepath.Join(folder, "grid.json"), nobody, 0o600); err != nil {
		t.Fatal(err)
	}
	err = a.nodes(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the certificate of this login ended at ") || !strings.Contains(jobs.HintOf(err), "when it runs") {
		t.Errorf("got %v with hint %q", err, jobs.HintOf(err))
	}
}

// expire puts a certificate that has ended in place of a login's own.
func (g *OneGrid) expire(folder string) *identity.Identity {
	g.t.Helper()
	id := loadIdentity(g.t, folder)
	state, err := os.OpenRoot(filepath.Join(g.dir, "coordinator"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer state.Close() // Nothing is written.
	authority, err := identity.Open(state)
	if err != nil {
		g.t.Fatal(err)
	}
	request, err := identity.Request(id.Key)
	if err != nil {
		g.t.Fatal(err)
	}
	chain, err := authority.Issue(request, identity.Grant{Role: peer.Submitter}, time.Nanosecond)
	if err != nil {
		g.t.Fatal(err)
	}
	old, err := identity.New(id.Key, chain, id.Root)
	if err != nil {
		g.t.Fatal(err)
	}
	if time.Now().Before(old.Caller().NotAfter) {
		g.t.Fatalf("the certificate ends at %s", old.Caller().NotAfter)
	}
	dir, err := os.OpenRoot(folder)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := errors.Join(old.Save(dir), dir.Close()); err != nil {
		g.t.Fatal(err)
	}
	return old
}

func loadIdentity(t testing.TB, folder string) *identity.Identity {
	t.Helper()
	dir, err := os.OpenRoot(folder)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close() // Nothing is written.
	id, err := identity.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return id
}
