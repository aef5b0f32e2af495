package record

import (
	"crypto/ed25519"
	"unicode/utf8"

	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"google.golang.org/protobuf/proto"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Envelope carries a payload and its signatures. What is signed is the pre-authentication encoding of DSSE
// over type and payload. Decoding one verifies nothing: call Verify with the key of whoever should have
// signed it before the payload is believed.
type Envelope struct {
	Type       string
	Payload    []byte
	Signatures []Signature // by different keys
}

// Signature is one signature of an envelope.
type Signature struct {
	Key ed25519.PublicKey
	Sig []byte // ed25519.SignatureSize bytes
}

// Signer returns the ID of the key.
func (s Signature) Signer() jobs.KeyID { return KeyIDOf(s.Key) }

// KeyIDOf returns the ID of a key: the digest of its bytes.
func KeyIDOf(pub ed25519.PublicKey) jobs.KeyID { return jobs.KeyID(jobs.DigestOf(pub)) }

// Sign returns an envelope around payload with one signature, by key.
func Sign(typ string, payload []byte, key ed25519.PrivateKey) Envelope {
	e := Envelope{Type: typ, Payload: payload}
	e.Countersign(key)
	return e
}

// Countersign adds a signature by key, in place of the one by the same key if there is one. Signatures of
// other envelopes that share e's payload are not touched.
func (e *Envelope) Countersign(key ed25519.PrivateKey) {
	pub := key.Public().(ed25519.PublicKey) // an ed25519.PrivateKey's Public is always of this type
	kept := make([]Signature, 0, len(e.Signatures)+1)
	for _, s := range e.Signatures {
		if !pub.Equal(s.Key) {
			kept = append(kept, s)
		}
	}
	sig := ed25519.Sign(key, dsse.PAE(e.Type, e.Payload))
	kept = append(kept, Signature{Key: pub, Sig: sig})
	e.Signatures = kept
}

// Verify returns nil if the envelope has a valid signature by the key with that ID. Otherwise the error is
// of kind jobs.Denied when that key has not signed it, and jobs.Corrupt when its signature does not match.
func (e Envelope) Verify(signer jobs.KeyID) error {
	for _, s := range e.Signatures {
		if s.Signer() != signer {
			continue
		}
		if !ed25519.Verify(s.Key, dsse.PAE(e.Type, e.Payload), s.Sig) {
			return jobs.Errorf(jobs.Corrupt, "signature of %s over the %s does not match", signer.Short(), e.Type)
		}
		return nil
	}
	return jobs.Errorf(jobs.Denied, "%s has not signed this %s", signer.Short(), e.Type)
}

// ID returns the record's ID. A manifest's is the digest of its payload, as it names the job. That of any
// other kind takes in the type: a cancel and a seal of one job have equal payloads, and were they one record
// to a store, then the first to arrive would keep the other out, and peers would disagree for ever.
func (e Envelope) ID() jobs.Digest {
	if e.Type == TypeManifest {
		return jobs.DigestOf(e.Payload)
	}
	return jobs.DigestOf(dsse.PAE(e.Type, e.Payload))
}

// Encode returns the envelope's bytes.
func (e Envelope) Encode() []byte { return marshal(e.ToProto()) }

// DecodeEnvelope reads what Encode wrote. Types that this version does not know are read as well.
func DecodeEnvelope(b []byte) (Envelope, error) {
	var p gridv1.Envelope
	if err := unmarshal("envelope", b, &p, MaxEnvelope); err != nil {
		return Envelope{}, err
	}
	return FromProto(&p)
}

// ToProto returns the envelope as the protocol has it, sharing its bytes.
func (e Envelope) ToProto() *gridv1.Envelope {
	p := &gridv1.Envelope{PayloadType: e.Type, Payload: e.Payload}
	for _, s := range e.Signatures {
		p.Signatures = append(p.Signatures, &gridv1.Signature{PublicKey: s.Key, Sig: s.Sig})
	}
	return p
}

// FromProto checks an envelope that came with an RPC. The result shares its bytes; nil is an error.
func FromProto(p *gridv1.Envelope) (Envelope, error) {
	e := Envelope{Type: p.GetPayloadType(), Payload: p.GetPayload()}
	if e.Type == "" || len(e.Type) > MaxName || !utf8.ValidString(e.Type) {
		return Envelope{}, jobs.Errorf(jobs.Invalid, "envelope: payload type of %d bytes, expected 1 to %d of UTF-8",
			len(e.Type), MaxName)
	}
	if len(e.Payload) == 0 || len(e.Payload) > MaxPayload {
		return Envelope{}, jobs.Errorf(jobs.Invalid, "envelope: payload of %d bytes, expected 1 to %d", len(e.Payload), MaxPayload)
	}
	var err error
	e.Signatures, err = signaturesFromProto(p.GetSignatures())
	if err != nil {
		return Envelope{}, err
	}
	return e, nil
}

func signaturesFromProto(list []*gridv1.Signature) ([]Signature, error) {
	if len(list) == 0 || len(list) > MaxSignatures {
		return nil, jobs.Errorf(jobs.Invalid, "envelope: %d signatures, expected 1 to %d", len(list), MaxSignatures)
	}
	sigs := make([]Signature, 0, len(list))
	for _, p := range list {
		if len(p.GetPublicKey()) != ed25519.PublicKeySize {
			return nil, jobs.Errorf(jobs.Invalid, "envelope: public key of %d bytes, expected %d", len(p.GetPublicKey()), ed25519.PublicKeySize)
		}
		key := ed25519.PublicKey(p.GetPublicKey())
		if len(p.GetSig()) != ed25519.SignatureSize {
			return nil, jobs.Errorf(jobs.Invalid, "envelope: signature of %d bytes, expected %d", len(p.GetSig()), ed25519.SignatureSize)
		}
		for _, s := range sigs {
			if key.Equal(s.Key) {
				return nil, jobs.Errorf(jobs.Invalid, "envelope: two signatures by %s", s.Signer().Short())
			}
		}
		sigs = append(sigs, Signature{Key: key, Sig: p.GetSig()})
	}
	return sigs, nil
}

// marshal encodes a message of ours. It fails only for strings that are no UTF-8, which every writer here
// rules out before, and so a failure is a mistake in this program.
func marshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err)
	}
	return b
}

// unmarshal decodes a message of at most limit bytes; what names it in errors.
func unmarshal(what string, b []byte, m proto.Message, limit int) error {
	if len(b) > limit {
		return jobs.Errorf(jobs.Invalid, "%s of %d bytes, expected at most %d", what, len(b), limit)
	}
	if err := (proto.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, m); err != nil {
		return jobs.Errorf(jobs.Invalid, "%s: %w", what, err)
	}
	return nil
}
