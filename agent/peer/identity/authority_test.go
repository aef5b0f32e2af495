package identity_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/jobs"
)

func expectKind(t *testing.T, err error, want jobs.ErrorKind) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, expected one of kind %q", want)
	}
	if got := jobs.KindOf(err); got != want {
		t.Fatalf("error of kind %q, expected %q: %v", got, want, err)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestAuthorityWorksWithoutTheRootKey(t *testing.T) {
	grid := identitytest.NewGrid(t)
	before := grid.Agent()
	if err := grid.Dir.Rename("root-key.pem", "elsewhere"); err != nil {
		t.Fatal(err)
	}
	a := must[*identity.Authority](t)(identity.Open(grid.Dir))
	grid.Authority = a
	if _, err := identity.VerifyChain(grid.Agent().Chain, before.Root, time.Now()); err != nil {
		t.Error(err)
	}
	_, err := identity.Reissue(grid.Dir)
	expectKind(t, err, jobs.NotFound)
	if jobs.HintOf(err) == "" || !strings.Contains(err.Error(), "root-key.pem") {
		t.Errorf("no help in %q, hint %q", err, jobs.HintOf(err))
	}
}

func TestReissueKeepsIdentitiesAndVoidsTokens(t *testing.T) {
	grid := identitytest.NewGrid(t)
	old, voucher := grid.Agent(), identity.Voucher{NotAfter: time.Now().Add(time.Hour)}
	token := must[string](t)(grid.Mint(identity.TokenSpec{
		Grant: identity.Grant{Role: peer.Submitter}, Addresses: []string{"h:1"},
	}))
	reissued := must[*identity.Authority](t)(identity.Reissue(grid.Dir))
	grid.Authority = must[*identity.Authority](t)(identity.Open(grid.Dir))
	if !reissued.Issuer().Equal(grid.Issuer()) || grid.Issuer().Equal(old.Issuer()) {
		t.Fatal("the new issuing key is not the one on disk, or is the old one")
	}
	young := grid.Agent()
	for _, id := range []*identity.Identity{old, young} {
		if _, err := identity.VerifyChain(id.Chain, grid.Root(), time.Now()); err != nil {
			t.Error(err)
		}
	}
	voucher.Key = young.Caller().Key
	signature := must[[]byte](t)(grid.Voucher(voucher))
	expectKind(t, identity.VerifyVoucher(voucher, signature, []ed25519.PublicKey{old.Issuer()}, time.Now()), jobs.Denied)
	both := []ed25519.PublicKey{old.Issuer(), must[ed25519.PublicKey](t)(identity.IssuerKey(young.Chain[1], old.Root))}
	if err := identity.VerifyVoucher(voucher, signature, both, time.Now()); err != nil {
		t.Error(err)
	}
	_, err := grid.CheckToken(token)
	expectKind(t, err, jobs.Denied)
}

func TestCreateRefusesAnExistingGrid(t *testing.T) {
	grid := identitytest.NewGrid(t)
	_, err := identity.Create(grid.Dir)
	expectKind(t, err, jobs.Exists)
	// A part of a grid may be all that is left of one: it is not written over.
	if err := grid.Dir.Remove("root.pem"); err != nil {
		t.Fatal(err)
	}
	_, err = identity.Open(grid.Dir)
	expectKind(t, err, jobs.NotFound)
	before := must[[]byte](t)(grid.Dir.ReadFile("issuing.pem"))
	_, err = identity.Create(grid.Dir)
	expectKind(t, err, jobs.Exists)
	if after := must[[]byte](t)(grid.Dir.ReadFile("issuing.pem")); !bytes.Equal(before, after) {
		t.Error("the issuing key was replaced")
	}
}

func TestKeyFilesAreSecret(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	grid := identitytest.NewGrid(t)
	if err := grid.Agent().Save(grid.Dir); err != nil {
		t.Fatal(err)
	}
	load := map[string]func() error{
		"root-key.pem": func() error { _, err := identity.Reissue(grid.Dir); return err },
		"issuing.pem":  func() error { _, err := identity.Open(grid.Dir); return err },
		"key.pem":      func() error { _, err := identity.Load(grid.Dir); return err },
	}
	for name, read := range load {
		if info, err := grid.Dir.Stat(name); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
		for _, mode := range []fs.FileMode{0o640, 0o604, 0o620} {
			if err := grid.Dir.Chmod(name, mode); err != nil {
				t.Fatal(err)
			}
			err := read()
			expectKind(t, err, jobs.Denied)
			if hint := jobs.HintOf(err); !strings.HasPrefix(hint, "chmod 600 ") || !strings.Contains(hint, name) {
				t.Errorf("hint %q", hint)
			}
		}
		if err := grid.Dir.Chmod(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIssueTable(t *testing.T) {
	grid := identitytest.NewGrid(t)
	request := must[[]byte](t)(identity.Request(grid.Agent().Key))
	flipped := append([]byte(nil), request...)
	flipped[len(flipped)-1] ^= 1
	const day = 24 * time.Hour
	agent := identity.Grant{Role: peer.Agent, Class: peer.Office, Owner: "alice"}
	for name, c := range map[string]struct {
		request []byte
		grant   identity.Grant
		ttl     time.Duration
		ok      bool
	}{
		"agent":             {request, agent, day, true},
		"longest":           {request, agent, identity.CertificateLife, true},
		"too long":          {request, agent, identity.CertificateLife + 1, false},
		"no time":           {request, agent, 0, false},
		"negative time":     {request, agent, -day, false},
		"no class":          {request, identity.Grant{Role: peer.Agent}, day, false},
		"unknown class":     {request, identity.Grant{Role: peer.Agent, Class: 4}, day, false},
		"class of operator": {request, identity.Grant{Role: peer.Operator, Class: peer.Office}, day, false},
		"no role":           {request, identity.Grant{}, day, false},
		"unknown role":      {request, identity.Grant{Role: 5}, day, false},
		"owner at limit":    {request, identity.Grant{Role: peer.Submitter, Owner: strings.Repeat("o", 128)}, day, true},
		"owner too long":    {request, identity.Grant{Role: peer.Submitter, Owner: strings.Repeat("o", 129)}, day, false},
		"owner not UTF-8":   {request, identity.Grant{Role: peer.Submitter, Owner: "\xff"}, day, false},
		"owner with escape": {request, identity.Grant{Role: peer.Submitter, Owner: "\x1b[2J"}, day, false},
		"request changed":   {flipped, agent, day, false},
		"request too large": {make([]byte, 4097), agent, day, false},
		"no request":        {nil, agent, day, false},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := grid.Issue(c.request, c.grant, c.ttl)
			if !c.ok {
				expectKind(t, err, jobs.Invalid)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := identity.VerifyChain(chain, grid.Root(), time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestGrantSurvivesTheCertificate(t *testing.T) {
	grid := identitytest.NewGrid(t)
	key := grid.Agent().Key
	request := must[[]byte](t)(identity.Request(key))
	rapid.Check(t, func(t *rapid.T) {
		g := identity.Grant{
			Role:  peer.Role(rapid.IntRange(1, 4).Draw(t, "role")),
			Owner: rapid.StringMatching(`[\pL\pN/?#&=+%:@" ]{0,20}`).Draw(t, "owner"),
		}
		if g.Role == peer.Agent {
			g.Class = peer.Class(rapid.IntRange(1, 3).Draw(t, "class"))
		}
		chain, err := grid.Issue(request, g, time.Hour)
		if len(g.Owner) > 128 {
			t.Skip("owner too long")
		}
		if err != nil {
			t.Fatal(err)
		}
		c, err := identity.VerifyChain(chain, grid.Root(), time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if g.Owner == "" {
			g.Owner = c.ID.String()
		}
		if (identity.Grant{Role: c.Role, Class: c.Class, Owner: c.Owner}) != g {
			t.Fatalf("read %+v, expected %+v", c, g)
		}
		if c.ID != identity.KeyIDOf(c.Key) || !c.Key.Equal(key.Public()) {
			t.Fatalf("the key is another: %s", c.ID)
		}
	})
}

// The gossip key of a grid must stay the same for as long as the grid: a coordinator that is put back from its keys
// would find nobody with another.
func TestGossipKeyStays(t *testing.T) {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	got := must[[]byte](t)(identity.GossipKey(key))
	if want := "86955597c75fe11c9501c3671b987cd2326adf26addb50a2c1fc0a5c93a66c15"; hex.EncodeToString(got) != want {
		t.Errorf("the gossip key is %x, expected %s", got, want)
	}
}
