package record_test

import (
	"bytes"
	"reflect"
	"testing"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// fuzz checks what a decoder promises of any bytes: an error of a known kind and no value, or a value that
// encodes to bytes which decode to the same.
func fuzz[T any](f *testing.F, seed []byte, encode func(T) []byte, decode func([]byte) (T, error)) {
	f.Add(seed)
	f.Add([]byte{})
	f.Add(seed[:len(seed)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := decode(b)
		if err != nil {
			var zero T
			if !reflect.DeepEqual(v, zero) || jobs.KindOf(err) != jobs.Invalid {
				t.Fatalf("%+v with %v", v, err)
			}
			return
		}
		again, err := decode(encode(v))
		if err != nil || !reflect.DeepEqual(again, v) {
			t.Fatalf("%+v, then %+v: %v", v, again, err)
		}
	})
}

func FuzzEnvelope(f *testing.F) {
	e := record.Sign(record.TypeManifest, []byte("payload"), key(1))
	e.Countersign(key(2))
	fuzz(f, e.Encode(), record.Envelope.Encode, record.DecodeEnvelope)
}

func FuzzReport(f *testing.F) {
	fuzz(f, sampleReport().Encode(), (*record.Report).Encode, record.DecodeReport)
}

func FuzzReceipt(f *testing.F) {
	fuzz(f, sampleReceipt().Encode(), (*record.Receipt).Encode, record.DecodeReceipt)
}

func FuzzRuling(f *testing.F) {
	fuzz(f, sampleRuling().Encode(), (*record.Ruling).Encode, record.DecodeRuling)
}

func FuzzCancel(f *testing.F) {
	fuzz(f, (&record.Cancel{Job: theJob}).Encode(), (*record.Cancel).Encode, record.DecodeCancel)
}

func FuzzSeal(f *testing.F) {
	fuzz(f, (&record.Seal{Job: theJob}).Encode(), (*record.Seal).Encode, record.DecodeSeal)
}

func FuzzCheckpoint(f *testing.F) {
	fuzz(f, sampleCheckpoint().Encode(), (*record.Checkpoint).Encode, record.DecodeCheckpoint)
}

func FuzzOutcome(f *testing.F) {
	o := sampleOutcome()
	f.Add(o.Encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := record.DecodeOutcome(b); err == nil && !bytes.Equal(o.Encode(), b) {
			t.Fatalf("%+v has two forms", o)
		} else if err != nil && !reflect.DeepEqual(o, record.Outcome{}) {
			t.Fatalf("%+v with %v", o, err)
		}
	})
}

func FuzzPack(f *testing.F) {
	f.Add(samplePack())
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0})
	o := sampleOutcome()
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := record.DecodePack(b)
		if (p == nil) != (err != nil) {
			t.Fatalf("%v with %v", p, err)
		}
		if err != nil {
			return
		}
		for _, unit := range p.Units() {
			if got, err := p.Outcome(unit, o.Digest()); err == nil && !reflect.DeepEqual(got, o) {
				t.Fatalf("%+v has the digest of %+v", got, o)
			}
		}
	})
}
