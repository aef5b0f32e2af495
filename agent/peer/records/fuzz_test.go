package records_test

import (
	"crypto/ed25519"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// sampleOffers are small records as they travel; decoders look at no signature and no certificate.
func sampleOffers() []records.Offer {
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	manifest := records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeManifest, []byte("m"), key)},
		Chains: [][][]byte{{[]byte("leaf"), []byte("issuing")}, {}},
	}
	report := records.Offer{Record: records.Record{
		Envelope: record.Sign(record.TypeReport, []byte("r"), key),
		Receipts: []record.Envelope{record.Sign(record.TypeReceipt, []byte("1"), key), record.Sign(record.TypeReceipt, []byte("2"), key)},
	}}
	return []records.Offer{manifest, report}
}

func encoded(t testing.TB, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func FuzzOffersFromProto(f *testing.F) {
	for _, o := range sampleOffers() {
		p := records.OfferToProto(o)
		f.Add(encoded(f, &gridv1.PushRequest{Records: []*gridv1.Record{p, p}}))
	}
	f.Add([]byte{0x0a, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p gridv1.PushRequest
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		offers, err := records.OffersFromProto(p.GetRecords())
		if err != nil {
			if offers != nil || jobs.KindOf(err) != jobs.Invalid {
				t.Fatalf("%+v with %v", offers, err)
			}
			return
		}
		var list []*gridv1.Record
		for _, o := range offers {
			list = append(list, records.OfferToProto(o))
		}
		if again, err := records.OffersFromProto(list); err != nil || !reflect.DeepEqual(again, offers) {
			t.Fatalf("%+v, then %+v: %v", offers, again, err)
		}
	})
}

func FuzzScopeFromProto(f *testing.F) {
	job := jobs.JobID(jobs.DigestOf([]byte("job")))
	f.Add(encoded(f, records.ShardToProto(jobs.ShardID{Job: job, Shard: 3})))
	f.Add(encoded(f, &gridv1.Scope{Job: job[:31]}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var p gridv1.Scope
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		scope, err := records.ScopeFromProto(&p)
		if err != nil {
			if scope != (records.Scope{}) || jobs.KindOf(err) != jobs.Invalid {
				t.Fatalf("%+v with %v", scope, err)
			}
			return
		}
		if again, err := records.ScopeFromProto(records.ShardToProto(scope.Shard)); scope.Reports && (err != nil || again != scope) {
			t.Fatalf("%+v, then %+v: %v", scope, again, err)
		}
	})
}

func FuzzDecodeStored(f *testing.F) {
	for _, o := range sampleOffers() {
		o.Chains = nil
		b := encoded(f, records.OfferToProto(o))
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := records.DecodeStored(b)
		if err != nil {
			if !reflect.DeepEqual(r, records.Record{}) || jobs.KindOf(err) != jobs.Corrupt && b != nil {
				t.Fatalf("%+v with %v", r, err)
			}
			return
		}
		again, err := records.DecodeStored(encoded(t, records.OfferToProto(records.Offer{Record: r})))
		if err != nil || !reflect.DeepEqual(again, r) {
			t.Fatalf("%+v, then %+v: %v", r, again, err)
		}
	})
}

func FuzzRefusalsFromProto(f *testing.F) {
	f.Add(encoded(f, &gridv1.PushReply{Refused: records.RefusalsToProto([]records.Refusal{
		{ID: jobs.DigestOf([]byte("x")), Reason: "because", Final: true}, {},
	})}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p gridv1.PushReply
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		refused, err := records.RefusalsFromProto(p.GetRefused())
		if err != nil {
			if refused != nil {
				t.Fatalf("%+v with %v", refused, err)
			}
			return
		}
		if again, err := records.RefusalsFromProto(records.RefusalsToProto(refused)); err != nil || !reflect.DeepEqual(again, refused) {
			t.Fatalf("%+v, then %+v: %v", refused, again, err)
		}
	})
}
