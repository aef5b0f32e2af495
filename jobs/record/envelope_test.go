package record_test

import (
	"slices"
	"strings"
	"testing"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestVerify(t *testing.T) {
	signed := record.Sign(record.TypeCancel, []byte("payload"), key(1))
	if err := signed.Verify(signer(1)); err != nil {
		t.Fatal(err)
	}
	if err := signed.Verify(signer(2)); jobs.KindOf(err) != jobs.Denied {
		t.Errorf("by another key: %v", err)
	}
	if err := (record.Envelope{}).Verify(signer(1)); jobs.KindOf(err) != jobs.Denied {
		t.Errorf("without a signature: %v", err)
	}
	for name, spoil := range map[string]func(*record.Envelope){
		"type":      func(e *record.Envelope) { e.Type = record.TypeSeal },
		"payload":   func(e *record.Envelope) { e.Payload[0] ^= 1 },
		"signature": func(e *record.Envelope) { e.Signatures[0].Sig[10] ^= 1 },
		"key": func(e *record.Envelope) { // one that is no point of the curve, under an ID that matches
			e.Signatures[0].Key = make([]byte, 32)
			e.Signatures[0].Key[0] = 2
		},
		"length": func(e *record.Envelope) { e.Signatures[0].Sig = e.Signatures[0].Sig[:63] },
	} {
		e := record.Sign(record.TypeCancel, []byte("payload"), key(1))
		spoil(&e)
		if err := e.Verify(e.Signatures[0].Signer()); jobs.KindOf(err) != jobs.Corrupt {
			t.Errorf("changed %s: %v", name, err)
		}
	}
}

func TestCountersign(t *testing.T) {
	e := record.Sign(record.TypeManifest, []byte("payload"), key(1))
	alone := e
	e.Countersign(key(2))
	e.Countersign(key(2))
	e.Countersign(key(1))
	if len(e.Signatures) != 2 || len(alone.Signatures) != 1 {
		t.Errorf("%d signatures, and %d in the copy", len(e.Signatures), len(alone.Signatures))
	}
	for n := byte(1); n <= 2; n++ {
		if err := e.Verify(signer(n)); err != nil {
			t.Error(err)
		}
	}
	if e.ID() != alone.ID() {
		t.Error("signatures are in the ID")
	}
}

func TestIDs(t *testing.T) {
	m := record.Sign(record.TypeManifest, []byte("payload"), key(1))
	if m.ID() != jobs.DigestOf([]byte("payload")) {
		t.Error("a manifest's ID is not the digest of its payload")
	}
	cancel := record.Sign(record.TypeCancel, (&record.Cancel{Job: theJob}).Encode(), key(1))
	seal := record.Sign(record.TypeSeal, (&record.Seal{Job: theJob}).Encode(), key(1))
	if cancel.ID() == seal.ID() {
		t.Error("a cancel and a seal of one job are one record")
	}
}

func TestEnvelopeBounds(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*gridv1.Envelope)
		ok    bool
	}{
		{"as it is", func(*gridv1.Envelope) {}, true},
		{"a type of a later version", func(p *gridv1.Envelope) { p.PayloadType = "application/vnd.idlegrid.control.v1" }, true},
		{"no type", func(p *gridv1.Envelope) { p.PayloadType = "" }, false},
		{"long type", func(p *gridv1.Envelope) { p.PayloadType = strings.Repeat("x", record.MaxName+1) }, false},
		{"type that is no UTF-8", func(p *gridv1.Envelope) { p.PayloadType = "\xff" }, false},
		{"no payload", func(p *gridv1.Envelope) { p.Payload = nil }, false},
		{"longest payload", func(p *gridv1.Envelope) { p.Payload = make([]byte, record.MaxPayload) }, true},
		{"long payload", func(p *gridv1.Envelope) { p.Payload = make([]byte, record.MaxPayload+1) }, false},
		{"no signature", func(p *gridv1.Envelope) { p.Signatures = nil }, false},
		{"two by one key", func(p *gridv1.Envelope) { p.Signatures = append(p.Signatures, p.Signatures[0]) }, false},
		{"nothing for a signature", func(p *gridv1.Envelope) { p.Signatures[0] = nil }, false},
		{"short key", func(p *gridv1.Envelope) { p.Signatures[0].PublicKey = p.Signatures[0].PublicKey[:31] }, false},
		{"the same key twice", func(p *gridv1.Envelope) {
			p.Signatures = append(signatures(2), signatures(1)...)
		}, false},
		{"short signature", func(p *gridv1.Envelope) { p.Signatures[0].Sig = p.Signatures[0].Sig[:63] }, false},
		{"most signatures", func(p *gridv1.Envelope) { p.Signatures = signatures(record.MaxSignatures) }, true},
		{"too many signatures", func(p *gridv1.Envelope) { p.Signatures = signatures(record.MaxSignatures + 1) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := record.Sign(record.TypeCancel, []byte("payload"), key(1)).ToProto()
			c.spoil(p)
			e, err := record.FromProto(p)
			if (err == nil) != c.ok || (!c.ok && (jobs.KindOf(err) != jobs.Invalid || e.Type != "")) {
				t.Fatalf("%+v, %v", e, err)
			}
			if !c.ok {
				return
			}
			b := e.Encode()
			if len(b) > record.MaxEnvelope {
				t.Errorf("%d bytes encoded", len(b))
			}
			if again, err := record.DecodeEnvelope(b); err != nil || !slices.Equal(again.Payload, e.Payload) {
				t.Errorf("read again: %v", err)
			}
		})
	}
	if _, err := record.FromProto(nil); err == nil {
		t.Error("nil is an envelope")
	}
}

func signatures(n int) []*gridv1.Signature {
	var list []*gridv1.Signature
	for i := range n {
		e := record.Sign(record.TypeCancel, []byte("payload"), key(byte(i)))
		list = append(list, e.ToProto().GetSignatures()[0])
	}
	return list
}
