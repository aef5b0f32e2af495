package records_test

import (
	"crypto/ed25519"
	"reflect"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

func noteOf(t testing.TB, job jobs.JobID, unit, sequence uint64) *records.Note {
	t.Helper()
	c := &record.Checkpoint{
		Job: job, Unit: unit, Sequence: sequence, CPU: time.Minute, Runtime: "r", Parts: []jobs.Blob{{Digest: jobs.Digest{1}, Size: 3}},
	}
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	receipt := record.Receipt{Holder: jobs.AgentID{7}, Blob: c.Parts[0], Job: job}
	n, err := records.NewNote(c, []record.Envelope{record.Sign(record.TypeReceipt, receipt.Encode(), key)}, key, [][]byte{{1}, {2}})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestP12NotesOfCheckpoints: what was noted is there after a restart, the newest in place of those before; what cannot
// be read is left out and ends no start.
func TestP12NotesOfCheckpoints(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	s := w.open(o)
	job := jobs.JobID{1}
	save := func(unit uint64, notes ...*records.Note) {
		t.Helper()
		if err := s.SaveNotes(jobs.UnitID{Job: job, Unit: unit}, notes...); err != nil {
			t.Fatal(err)
		}
	}
	save(1, noteOf(t, job, 1, 1))
	save(1, noteOf(t, job, 1, 2), noteOf(t, job, 1, 1))
	save(1, noteOf(t, job, 1, 3), noteOf(t, job, 1, 2))
	save(2, noteOf(t, job, 2, 9))
	save(3, noteOf(t, job, 3, 1))
	save(3)
	err := s.DB().Update(func(tx *bbolt.Tx) error { return tx.Bucket([]byte("notes")).Put([]byte("x"), []byte("no note")) })
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	notes, err := w.open(o).Notes()
	var got [][2]uint64
	for _, n := range notes {
		got = append(got, [2]uint64{n.Unit, n.Sequence})
	}
	if want := [][2]uint64{{1, 2}, {1, 3}, {2, 9}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("units and sequences %v, expected %v; %v", got, want, err)
	}
	if len(notes) > 0 && (!notes[0].Same(noteOf(t, job, 1, 2)) || len(notes[0].Holders) != 1 || notes[0].Holders[0] != jobs.AgentID{7}) {
		t.Errorf("read %+v", notes[0])
	}
}

// FuzzReadNote: a note from anyone is within its bounds, or refused.
func FuzzReadNote(f *testing.F) {
	f.Add(encoded(f, noteOf(f, jobs.JobID{1}, 1, 2).ToProto()))
	f.Add([]byte{})
	for _, o := range sampleOffers() {
		f.Add(encoded(f, records.OfferToProto(o)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p gridv1.Record
		if proto.Unmarshal(b, &p) != nil {
			return
		}
		n, err := records.ReadNote(&p)
		if err != nil {
			if n != nil || jobs.KindOf(err) != jobs.Invalid {
				t.Fatalf("%+v with %v", n, err)
			}
			return
		}
		if n.Size() > 8<<10 || n.Author.IsZero() || len(n.Parts) == 0 {
			t.Fatalf("%+v of %d bytes", n, n.Size())
		}
		again, err := records.ReadNote(n.ToProto())
		if err != nil || !again.Same(n) || !reflect.DeepEqual(again.Holders, n.Holders) {
			t.Fatalf("%+v, then %+v: %v", n, again, err)
		}
	})
}
