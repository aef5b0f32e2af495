package identity_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/jobs"
)

func spec() identity.TokenSpec {
	return identity.TokenSpec{
		Grant:     identity.Grant{Role: peer.Agent, Class: peer.Laptop, Owner: "älice & co"},
		Addresses: []string{"coordinator.example:7950", "[fd00::1]:7950"},
	}
}

func TestTokenRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		grid := identitytest.NewGrid(t)
		text := must[string](t)(grid.Mint(spec()))
		if !strings.HasPrefix(text, "grid1.") || len(text) > 600 || strings.ContainsAny(text, " \n\"'$`\\") {
			t.Errorf("not fit for a command line: %s", text)
		}
		copied := " " + text[:50] + "\n   " + text[50:] + "\r\n"
		newcomer := must[identity.Token](t)(identity.ParseToken(copied))
		checked := must[identity.Token](t)(grid.CheckToken(copied))
		for _, token := range []identity.Token{newcomer, checked} {
			if token.Grant != spec().Grant || !slices.Equal(token.Addresses, spec().Addresses) ||
				token.Root != jobs.DigestOf(grid.Root()) || !token.Expires.Equal(time.Now().Add(24*time.Hour)) || token.ID == "" {
				t.Errorf("read %+v", token)
			}
		}
		again := must[identity.Token](t)(identity.ParseToken(must[string](t)(grid.Mint(spec()))))
		if again.ID == newcomer.ID {
			t.Error("two tokens with one ID")
		}
		time.Sleep(24*time.Hour - time.Second)
		if _, err := grid.CheckToken(text); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		expectTokenError(t, grid, text, jobs.Expired)
	})
}

// expectTokenError checks kind and hint, and that the error does not tell the token.
func expectTokenError(t *testing.T, grid *identitytest.Grid, text string, kind jobs.ErrorKind) {
	t.Helper()
	_, err := grid.CheckToken(text)
	expectKind(t, err, kind)
	if jobs.HintOf(err) == "" {
		t.Errorf("no hint with %q", err)
	}
	if said := fmt.Sprintf("%+v %s", err, jobs.HintOf(err)); len(text) > 40 && strings.Contains(said, text[20:40]) || len(said) > 400 {
		t.Errorf("the error repeats the token: %q", said)
	}
}

func TestTokenOfAnotherGrid(t *testing.T) {
	grid, other := identitytest.NewGrid(t), identitytest.NewGrid(t)
	text := must[string](t)(other.Mint(spec()))
	expectTokenError(t, grid, text, jobs.Denied)
	if _, err := grid.CheckToken(text); !strings.Contains(err.Error(), "another grid") {
		t.Error(err)
	}
}

func TestTokenChanged(t *testing.T) {
	grid := identitytest.NewGrid(t)
	text := must[string](t)(grid.Mint(spec()))
	raw := must[[]byte](t)(base64.RawURLEncoding.DecodeString(text[len("grid1."):]))
	for i := range raw {
		changed := slices.Clone(raw)
		changed[i] ^= 1
		if _, err := grid.CheckToken("grid1." + base64.RawURLEncoding.EncodeToString(changed)); err == nil {
			t.Errorf("byte %d changed, and still taken", i)
		} else if jobs.HintOf(err) == "" {
			t.Errorf("no hint with %q", err)
		}
	}
	for n := range len(text) {
		if _, err := grid.CheckToken(text[:n]); jobs.KindOf(err) != jobs.Invalid && jobs.KindOf(err) != jobs.Denied {
			t.Fatalf("cut to %d characters: %v", n, err)
		}
	}
	for _, text := range []string{
		"", "grid1.", "grid2." + text[6:], text + "=", text + "AAAA", text + text, strings.ToUpper(text),
		strings.Repeat("A", 1<<20), "grid1." + strings.Repeat("A", 4000), "grid1.{}",
	} {
		_, err := identity.ParseToken(text)
		expectKind(t, err, jobs.Invalid)
	}
}

func TestMintTable(t *testing.T) {
	grid := identitytest.NewGrid(t)
	for name, c := range map[string]struct {
		change func(*identity.TokenSpec)
		ok     bool
	}{
		"as it is":          {func(*identity.TokenSpec) {}, true},
		"longest":           {func(s *identity.TokenSpec) { s.TTL = 30 * 24 * time.Hour }, true},
		"too long":          {func(s *identity.TokenSpec) { s.TTL = 30*24*time.Hour + 1 }, false},
		"negative":          {func(s *identity.TokenSpec) { s.TTL = -1 }, false},
		"no address":        {func(s *identity.TokenSpec) { s.Addresses = nil }, false},
		"16 addresses":      {func(s *identity.TokenSpec) { s.Addresses = slices.Repeat([]string{"h:1"}, 16) }, true},
		"17 addresses":      {func(s *identity.TokenSpec) { s.Addresses = slices.Repeat([]string{"h:1"}, 17) }, false},
		"address, no port":  {func(s *identity.TokenSpec) { s.Addresses = []string{"h"} }, false},
		"address, no host":  {func(s *identity.TokenSpec) { s.Addresses = []string{":1"} }, false},
		"address too long":  {func(s *identity.TokenSpec) { s.Addresses = []string{strings.Repeat("h", 255) + ":1"} }, false},
		"agent, no class":   {func(s *identity.TokenSpec) { s.Class = 0 }, false},
		"operator, a class": {func(s *identity.TokenSpec) { s.Role = peer.Operator }, false},
		"anonymous":         {func(s *identity.TokenSpec) { s.Grant = identity.Grant{} }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec()
			c.change(&s)
			text, err := grid.Mint(s)
			if !c.ok {
				expectKind(t, err, jobs.Invalid)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := grid.CheckToken(text); err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzParseToken(f *testing.F) {
	grid := identitytest.NewGrid(f)
	text := must[string](f)(grid.Mint(spec()))
	for _, seed := range []string{text, text[:80], "", "grid1.", "grid1.e30", "grid1.\xff", strings.Repeat("A", 9000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		token, err := identity.ParseToken(text)
		if err == nil {
			if token.Role == peer.Anonymous || len(token.Addresses) == 0 || token.ID == "" || token.Root.IsZero() && len(text) < 60 {
				t.Errorf("taken with a part missing: %+v", token)
			}
			return
		}
		var e *jobs.Error
		if !errors.As(err, &e) || e.Kind != jobs.Invalid || len(err.Error()) > 200 {
			t.Errorf("%v", err)
		}
	})
}
