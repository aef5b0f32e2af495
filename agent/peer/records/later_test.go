package records_test

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// typeLater is a record type of a version to come.
const typeLater = "application/vnd.idlegrid.later.v9"

// later returns what a later version says of a job: the job, then what only that version reads.
func (j *theJob) later(text string, by *identity.Identity) records.Offer {
	c := record.Cancel{Job: j.id}
	payload := protowire.AppendString(protowire.AppendTag(c.Encode(), 15, protowire.BytesType), text)
	return j.signed(typeLater, payload, by)
}

// TestI22UnknownTypesSurvive is I22: what a version does not know goes through it byte for byte, over a restart
// and two hops, and changes nothing that it shows.
func TestI22UnknownTypesSurvive(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	old := w.open(o)
	j := w.job()
	said := j.later("what old peers cannot read", w.operator)
	w.add(old, said, j.offer, j.offered(j.report()))
	before := old.Digest(records.Scope{})
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	old = w.open(o)
	if old.Digest(records.Scope{}) != before {
		t.Error("it is another after a restart")
	}
	young := w.store()
	var all []records.Offer
	for _, id := range old.IDs(records.Scope{}) {
		offer, err := old.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, offer)
	}
	w.add(young, all...)
	got, err := young.Get(said.Envelope.ID())
	if err != nil || !bytes.Equal(got.Envelope.Payload, said.Envelope.Payload) || got.Envelope.Type != typeLater {
		t.Fatalf("%v, %v", got.Envelope, err)
	}
	if err := got.Envelope.Verify(w.operator.ID()); err != nil {
		t.Error(err)
	}
	if u := j.units(old, 0); u[0].Status != ledger.Accepted || u[1].Status != ledger.Open || old.Runnable(j.id) != nil {
		t.Errorf("it changed what is shown: %+v", u[:2])
	}
}

// A record whose type was not known when it was stored counts, once the version knows it, if its author may say so.
func TestWhatIsKnownLaterIsLookedAt(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	s := w.open(o)
	good, bad := w.job(), w.job()
	w.add(s, good.offer, bad.offer, good.later("so that the operator is known", w.operator), bad.later("and the agent", w.agents[0]))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	records.KeepAsLater(t, o.Path, good.id, good.cancelByOperator())
	records.KeepAsLater(t, o.Path, bad.id, bad.cancelBy(w.agents[0]))
	for range 2 { // the second start finds it twice
		s = w.open(o)
		if cancelled, _ := s.Over(good.id); !cancelled {
			t.Error("an operator's cancel does not count")
		}
		if cancelled, _ := s.Over(bad.id); cancelled {
			t.Error("an agent's cancel counts")
		}
		if used, _ := s.Used(good.shard(0), w.operator.ID()); used != 1 {
			t.Errorf("the cancel counts %d times", used)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestUnknownTypesRefused(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j, unknown := w.job(), w.job()
	w.add(s, j.offer)
	text := string(bytes.Repeat([]byte("x"), records.MaxLater))
	two := j.later("two signatures", w.operator)
	two.Envelope.Countersign(w.agents[0].Key)
	two.Chains = append(two.Chains, w.agents[0].Chain)
	w.check(s, []records.Scope{{}, j.reports(0)}, []refusal{
		{"of an unknown job", unknown.later("x", w.operator), "no live job", false},
		{"of no job", w.signed(typeLater, []byte("no job"), w.operator), "record", true},
		{"too large", j.later(text, w.operator), "at most", true},
		{"by another submitter", j.later("x", w.rival), "is not its own", true},
		{"by somebody unknown", without(j.later("x", w.agents[0]), 0), "no certificate of signer", false},
		{"forged", forge(j.later("x", w.operator), w.operator.Key), "does not match", true},
		{"with two signatures", two, "expected one", true},
		{"a receipt", w.signed(record.TypeReceipt, []byte{1}, w.agents[0]), "no record for a store", true},
		{"a checkpoint's note", w.signed(record.TypeCheckpoint, []byte{1}, w.agents[0]), "no record for a store", true},
	})
}

// TestP11UnknownTypesAreBounded: a flood of records that nobody can read ends at its author's own bound, takes
// nobody's room, neither its author's reports' nor anybody else's words', and little memory.
func TestP11UnknownTypesAreBounded(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	w.add(s, j.offer)
	before := heap()
	kept := 0
	for size, n := range map[int]int{1: records.Spare, records.MaxLater - 64: 200} {
		var flood []records.Offer
		for i := range n {
			flood = append(flood, j.later(fmt.Sprintf("%0*d", size, i), w.agents[0]))
		}
		k, refused, err := s.Add(t.Context(), flood, false)
		if err != nil || slices.ContainsFunc(refused, func(r records.Refusal) bool { return r.Final }) {
			t.Fatal(err, refused)
		}
		kept += len(k)
	}
	if used, _ := s.UsedLater(j.id, w.agents[0].ID()); used > records.Spare || kept > records.Spare || kept == 0 {
		t.Errorf("%d records are kept, which count %d, of at most %d", kept, used, records.Spare)
	}
	if grown := heap() - before; grown > 2<<20 {
		t.Errorf("the flood takes %d bytes of memory", grown)
	}
	w.add(s, j.offered(j.report()), j.later("of another", w.agents[1]), j.cancelByOperator(), j.seal())
	if used, _ := s.Used(j.shard(0), w.agents[0].ID()); used != 1 {
		t.Errorf("the report counts %d", used)
	}
	if n := jobs.Digest(j.id); !slices.Contains(s.IDs(records.Scope{}), n) {
		t.Error("the manifest is gone")
	}
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
