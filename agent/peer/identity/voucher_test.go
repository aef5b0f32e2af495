package identity_test

import (
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/jobs"
)

func TestVoucher(t *testing.T) {
	grid := identitytest.NewGrid(t)
	id, now := grid.Agent(), time.Now()
	good := identity.Voucher{Key: id.Caller().Key, Role: peer.Agent, Class: peer.AlwaysOn, NotAfter: now.Add(time.Hour)}
	signature := must[[]byte](t)(grid.Voucher(good))
	if len(signature) > 64 {
		t.Errorf("%d bytes", len(signature))
	}
	issuers := []ed25519.PublicKey{id.Issuer()}
	if err := identity.VerifyVoucher(good, signature, issuers, now); err != nil {
		t.Error(err)
	}
	expectKind(t, identity.VerifyVoucher(good, signature, issuers, now.Add(2*time.Hour)), jobs.Expired)
	expectKind(t, identity.VerifyVoucher(good, signature, nil, now), jobs.Denied)
	expectKind(t, identity.VerifyVoucher(good, signature, []ed25519.PublicKey{identitytest.NewGrid(t).Issuer()}, now), jobs.Denied)
	expectKind(t, identity.VerifyVoucher(good, signature[:63], issuers, now), jobs.Denied)
	for name, change := range map[string]func(*identity.Voucher){
		"key":      func(v *identity.Voucher) { v.Key = grid.Agent().Caller().Key },
		"no key":   func(v *identity.Voucher) { v.Key = nil },
		"long key": func(v *identity.Voucher) { v.Key = append(slices.Clone(v.Key), 1) },
		"role":     func(v *identity.Voucher) { v.Role = peer.Operator },
		"class":    func(v *identity.Voucher) { v.Class = peer.Laptop },
		"date":     func(v *identity.Voucher) { v.NotAfter = v.NotAfter.Add(time.Second) },
	} {
		v := good
		change(&v)
		if err := identity.VerifyVoucher(v, signature, issuers, now); jobs.KindOf(err) != jobs.Denied {
			t.Errorf("%s changed: %v", name, err)
		}
	}
	if _, err := grid.Voucher(identity.Voucher{}); err == nil {
		t.Error("a voucher for no key")
	}
}
