package admission

import (
	"context"
	"crypto/ed25519"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

var office = identity.Grant{Role: peer.Agent, Class: peer.Office, Owner: "carol"}

func (p *place) token(g identity.Grant) string {
	p.t.Helper()
	text, err := p.grid.Mint(identity.TokenSpec{Grant: g, Addresses: []string{"127.0.0.1:1"}})
	if err != nil {
		p.t.Fatal(err)
	}
	return text
}

func newRequest(t *testing.T) (ed25519.PrivateKey, []byte) {
	t.Helper()
	key, err := identity.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	csr, err := identity.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, csr
}

func (p *place) enrol(ctx context.Context, token string) (*gridv1.EnrolReply, ed25519.PrivateKey, error) {
	p.t.Helper()
	key, csr := newRequest(p.t)
	reply, err := p.service.Enrol(ctx, &gridv1.EnrolRequest{Token: token, Csr: csr})
	return reply, key, err
}

func TestEnrol(t *testing.T) {
	p := newPlace(t)
	p.members = []peer.Member{{Role: peer.Coordinator, Address: "10.0.0.1:1"}, {Role: peer.Agent, Address: "10.0.0.2:1"}}
	token := p.token(office)
	reply, key, err := p.enrol(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(key, reply.GetChain().GetCertificates(), reply.GetRoot())
	if err != nil {
		t.Fatal(err)
	}
	c := id.Caller()
	if c.Role != peer.Agent || c.Class != peer.Office || c.Owner != "carol" {
		t.Errorf("certified as %+v", c)
	}
	voucher := identity.Voucher{Key: c.Key, Role: c.Role, Class: c.Class, NotAfter: c.NotAfter.Truncate(time.Second)}
	if err := identity.VerifyVoucher(voucher, reply.GetVoucher(), []ed25519.PublicKey{p.grid.Issuer()}, time.Now()); err != nil {
		t.Error(err)
	}
	if len(reply.GetGossipKeys()) != 1 || len(reply.GetPeers()) != 2 {
		t.Errorf("%d gossip keys, peers %v", len(reply.GetGossipKeys()), reply.GetPeers())
	}

	_, _, err = p.enrol(t.Context(), token)
	refused(t, err, jobs.Denied, "this token was used already")
	p.restart()
	_, _, err = p.enrol(t.Context(), token)
	refused(t, err, jobs.Denied, "this token was used already")
}

// TestEnrolPeople gives people no key of the gossip's.
func TestEnrolPeople(t *testing.T) {
	p := newPlace(t)
	for _, role := range []peer.Role{peer.Submitter, peer.Operator} {
		reply, _, err := p.enrol(t.Context(), p.token(identity.Grant{Role: role}))
		if err != nil || len(reply.GetGossipKeys())+len(reply.GetVoucher()) != 0 {
			t.Errorf("%s: %v, %v", role, reply, err)
		}
	}
}

func TestEnrolRefused(t *testing.T) {
	p := newPlace(t)
	token := p.token(office)
	for _, csr := range [][]byte{nil, []byte("no request"), make([]byte, 1<<20)} {
		_, err := p.service.Enrol(t.Context(), &gridv1.EnrolRequest{Token: token, Csr: csr})
		refused(t, err, jobs.Invalid, "certificate request")
	}
	for _, text := range []string{"", "grid1.nonsense"} {
		_, _, err := p.enrol(t.Context(), text)
		refused(t, err, jobs.Invalid, "no join token")
	}
	_, _, err := p.enrol(t.Context(), newPlace(t).token(office))
	refused(t, err, jobs.Denied, "of another grid")
	p.members = []peer.Member{{Role: peer.Agent}, {Role: peer.Agent}, {Role: peer.Coordinator}}
	_, _, err = p.enrol(t.Context(), token)
	refused(t, err, jobs.Exhausted, "the pool has 2 agents, its limit; several pools are not built")
	if _, _, err = p.enrol(t.Context(), p.token(identity.Grant{Role: peer.Submitter})); err != nil {
		t.Errorf("a submitter needs no room in the pool: %v", err)
	}
	// None of that used the token up.
	p.members = nil
	if _, _, err = p.enrol(t.Context(), token); err != nil {
		t.Error(err)
	}
}

// TestTokensAreForgotten keeps the IDs of used tokens only as long as they could be used again.
func TestTokensAreForgotten(t *testing.T) {
	p := newPlace(t)
	now := time.Now()
	redeem := func(id string, expires, now time.Time) error {
		return p.service.redeem(identity.Token{ID: id, Expires: expires}, now)
	}
	if err := redeem("old", now.Add(time.Minute), now); err != nil {
		t.Fatal(err)
	}
	if err := redeem("young", now.Add(time.Hour), now); err != nil {
		t.Fatal(err)
	}
	refused(t, redeem("old", now.Add(time.Minute), now), jobs.Denied, "used already")
	if err := redeem("new", now.Add(time.Hour), now.Add(2*time.Minute)); err != nil {
		t.Fatal(err)
	}
	var kept []string
	err := p.options.Store.DB().View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketTokens).ForEach(func(k, _ []byte) error {
			kept = append(kept, string(k))
			return nil
		})
	})
	if err != nil || len(kept) != 2 || kept[0] != "new" || kept[1] != "young" {
		t.Errorf("kept %v, %v", kept, err)
	}
}

func TestRenew(t *testing.T) {
	p := newPlace(t)
	old := p.grid.Identity(office)
	csr, err := identity.Request(old.Key)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := p.service.Renew(p.as(old), &gridv1.RenewRequest{Csr: csr})
	if err != nil {
		t.Fatal(err)
	}
	id, err := identity.New(old.Key, reply.GetChain().GetCertificates(), reply.GetRoot())
	if err != nil {
		t.Fatal(err)
	}
	if c := id.Caller(); c.ID != old.ID() || c.Role != peer.Agent || c.Class != peer.Office || c.Owner != "carol" {
		t.Errorf("renewed as %+v", c)
	}
	_, other := newRequest(t)
	_, err = p.service.Renew(p.as(old), &gridv1.RenewRequest{Csr: other})
	refused(t, err, jobs.Denied, "the caller's own key only")
	_, err = p.service.Renew(p.as(old), &gridv1.RenewRequest{})
	refused(t, err, jobs.Invalid, "certificate request")
	_, err = p.service.Renew(t.Context(), &gridv1.RenewRequest{Csr: csr})
	refused(t, err, jobs.Denied, "needs a certificate")
}
