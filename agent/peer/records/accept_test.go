package records_test

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// refusal is an offer that a store must refuse, with words of the reason, and whether for good.
type refusal struct {
	name  string
	offer records.Offer
	want  string
	final bool
}

// check offers each alone to the store and looks that nothing of it stays.
func (w *world) check(s *records.Store, scopes []records.Scope, all []refusal) {
	w.t.Helper()
	digests := func() (all []jobs.Digest) {
		for _, scope := range scopes {
			all = append(all, s.Digest(scope))
		}
		return all
	}
	before, authors := digests(), s.Authors()
	for _, r := range all {
		kept, refused, err := s.Add(w.t.Context(), []records.Offer{r.offer}, false)
		if err != nil || len(kept) > 0 || len(refused) != 1 {
			w.t.Errorf("%s: kept %v, refused %v, %v", r.name, kept, refused, err)
			continue
		}
		got := refused[0]
		if !strings.Contains(got.Reason, r.want) || got.Final != r.final || got.ID != r.offer.Envelope.ID() {
			w.t.Errorf("%s: refused %+v, expected %q, final %v", r.name, got, r.want, r.final)
		}
		if _, err := s.Get(got.ID); jobs.KindOf(err) != jobs.NotFound {
			w.t.Errorf("%s: is kept all the same: %v", r.name, err)
		}
	}
	if !slices.Equal(before, digests()) || authors != s.Authors() {
		w.t.Errorf("something of what was refused stays: %d authors, before %d", s.Authors(), authors)
	}
}

// forge makes the signature by a key no signature any more.
func forge(o records.Offer, key ed25519.PrivateKey) records.Offer {
	o.Envelope.Signatures = slices.Clone(o.Envelope.Signatures)
	for i, s := range o.Envelope.Signatures {
		if s.Key.Equal(key.Public()) {
			o.Envelope.Signatures[i].Sig = bytes.Clone(s.Sig)
			o.Envelope.Signatures[i].Sig[7] ^= 1
		}
	}
	return o
}

func without(o records.Offer, chains ...int) records.Offer {
	kept := [][][]byte{}
	for i, c := range o.Chains {
		if !slices.Contains(chains, i) {
			kept = append(kept, c)
		}
	}
	o.Chains = kept
	return o
}

func times(n int, chain [][]byte) (all [][][]byte) {
	for range n {
		all = append(all, chain)
	}
	return all
}

func TestManifestRefused(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	payload := j.offer.Envelope.Payload
	signed := func(typ string) records.Offer { return w.signed(typ, payload, w.submitter, w.coordinator) }
	byAgent := w.job(func(m *manifest.Manifest) { m.Submitter = w.agents[0].ID() })
	stranger := identitytest.NewGrid(t).Role(peer.Submitter, "mallory")
	foreign := w.job(func(m *manifest.Manifest) { m.Submitter = stranger.ID() })
	many := j.offer
	many.Chains = times(5, w.submitter.Chain)
	padded := j.offer
	padded.Receipts = slices.Repeat([]record.Envelope{j.receipt(w.agents[1], jobs.Blob{Size: 1})}, 9)
	garbled := j.offer
	garbled.Chains = [][][]byte{{[]byte("no certificate")}}
	w.check(s, []records.Scope{{}}, []refusal{
		{"unknown submitter", without(j.offer, 0), "no certificate of signer " + w.submitter.ID().Short(), false},
		{"unknown coordinator", without(j.offer, 1), "no certificate of signer " + w.coordinator.ID().Short(), false},
		{"not countersigned", w.signed(record.TypeManifest, payload, w.submitter), "not admitted by a coordinator", true},
		{
			"countersigned by an agent", w.signed(record.TypeManifest, payload, w.submitter, w.agents[0]),
			"not admitted by a coordinator", true,
		},
		{"not signed by its submitter", w.signed(record.TypeManifest, payload, w.rival, w.coordinator), "has not signed", true},
		{"forged signature", forge(j.offer, w.submitter.Key), "does not match", true},
		{"forged countersignature", forge(j.offer, w.coordinator.Key), "does not match", true},
		{
			"an agent submits", w.signed(record.TypeManifest, byAgent.offer.Envelope.Payload, w.agents[0], w.coordinator),
			"signed by the agent", true,
		},
		{
			"a submitter of another grid", w.signed(record.TypeManifest, foreign.offer.Envelope.Payload, stranger, w.coordinator),
			"of another grid", true,
		},
		{"garbled chain", garbled, "read certificate", true},
		{"too many chains", many, "over the bounds", true},
		{"too many receipts", padded, "over the bounds", true},
		{"a payload of another type", signed(record.TypeReport), "report", true},
		{"unknown type", signed("application/vnd.idlegrid.later.v9"), "record: job", true},
		{"no manifest", w.signed(record.TypeManifest, []byte{1}, w.submitter, w.coordinator), "manifest", true},
	})
	w.add(s, j.offer)
}

func TestReportRefused(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job(func(m *manifest.Manifest) { m.Bundle, m.Units = 2, 2*manifest.ShardBundles+3 }) // two shards
	w.add(s, j.offer)
	good := j.offered(j.report())
	report := func(change ...func(*record.Report)) records.Offer { return j.offered(j.report(change...)) }
	with := func(receipts ...record.Envelope) records.Offer {
		o := j.bare(j.report())
		o.Receipts = receipts
		return o
	}
	pack := j.report().Pack
	one := j.receipt(w.agents[1], pack)
	forged := one
	forged.Signatures = forge(records.Offer{Record: records.Record{Envelope: one}}, w.agents[1].Key).Envelope.Signatures
	borrowed := record.Sign(record.TypeReceipt, one.Payload, w.agents[2].Key)
	other := w.job()
	large := one
	large.Payload = append(bytes.Clone(one.Payload), bytes.Repeat([]byte{0x7a, 1, 0}, 400)...) // an unknown field, again and again
	misnamed := record.Sign(record.TypeSeal, one.Payload, w.agents[1].Key)
	w.check(s, []records.Scope{{}, j.reports(0), j.reports(1)}, []refusal{
		{"unknown job", other.offered(other.report()), "no live job", false},
		{"unknown author", without(good, 0), "no certificate of signer", false},
		{"a submitter reports", report(by(w.submitter)), "report by the submitter", true},
		{"a coordinator reports", report(by(w.coordinator)), "report by the coordinator", true},
		{"signed by another agent", j.signed(record.TypeReport, good.Envelope.Payload, w.agents[1]), "has not signed", true},
		{"forged", forge(good, w.agents[0].Key), "does not match", true},
		{"shard outside the job", report(func(r *record.Report) { r.Shard = 2 }), "report of shard 2, the job has 2", true},
		{
			"bundle outside the shard", report(func(r *record.Report) { r.Bundles[0].Bundle = manifest.ShardBundles }),
			"which is not in shard 0", true,
		},
		{
			"bundle outside the job", report(func(r *record.Report) { r.Shard, r.Bundles[0].Bundle = 1, manifest.ShardBundles+2 }),
			"which is not in shard 1", true,
		},
		{
			"unit outside the bundle", report(func(r *record.Report) { r.Bundles[0].Units[0].Unit = 2 }),
			"unit 2, which is not in bundle 0", true,
		},
		{
			"unit outside the job", report(j.about(success(2*manifest.ShardBundles+3), 0)),
			"which is not in bundle", true,
		},
		{
			"lost run outside the shard", report(func(r *record.Report) { r.LostRuns = []record.LostRun{{Unit: 2 * manifest.ShardBundles}} }),
			"which is not in shard 0", true,
		},
		{
			"lost run outside the job", report(j.about(success(2*manifest.ShardBundles), 0), func(r *record.Report) {
				r.LostRuns = []record.LostRun{{Unit: 2*manifest.ShardBundles + 3}}
			}),
			"which is not in shard 1", true,
		},
		{"no receipts", with(), "receipts of 0 holders here, 2 are needed", false},
		{"one receipt", with(one), "receipts of 1 holders here, 2 are needed", false},
		{"one holder twice", with(one, one), "receipts of 1 holders", false},
		{"a holder that is no agent", with(one, j.receipt(w.coordinator, pack)), "receipts of 1 holders", false},
		{"receipt for another pack", with(one, j.receipt(w.agents[2], jobs.Blob{Digest: pack.Digest, Size: 5})), "is not for pack", true},
		{"receipt for another job", with(one, other.receipt(w.agents[2], pack)), "is not for pack", true},
		{"forged receipt", with(j.receipt(w.agents[2], pack), forged), "does not match", true},
		{"receipt signed by another", with(one, borrowed), "has not signed", true},
		{"no receipt", with(one, misnamed), "is not for pack", true},
		{"a receipt that is none", with(one, record.Sign(record.TypeReceipt, []byte("x"), w.agents[2].Key)), "receipt", true},
		{"a large receipt", with(one, large), "expected at most", true},
		{"too many receipts", with(slices.Repeat([]record.Envelope{one}, 9)...), "over the bounds", true},
	})
	w.add(s, good)
}

// The holders must be able to hold: members that left, drain or cannot be reached do not count, and in a pool
// of one its one receipt is enough.
func TestReceiptsOfTheEligible(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	w.add(s, j.offer)
	all := slices.Clone(w.pool)
	tell := func(name string, want bool, change func(members []peer.Member) []peer.Member) {
		t.Helper()
		w.pool = change(slices.Clone(all))
		o := j.offered(j.report())
		kept, refused, err := s.Add(t.Context(), []records.Offer{o}, false)
		if err != nil || (len(kept) == 1) != want || len(refused) > 0 && refused[0].Final {
			t.Errorf("%s: kept %v, refused %v, %v", name, kept, refused, err)
		}
	}
	tell("all are here", true, func(m []peer.Member) []peer.Member { return m })
	tell("a holder left", false, func(m []peer.Member) []peer.Member { return slices.Delete(m, 1, 2) })
	tell("a holder drains", false, func(m []peer.Member) []peer.Member { m[1].Draining = true; return m })
	tell("a holder cannot be reached", false, func(m []peer.Member) []peer.Member { m[2].Reachable = false; return m })
	tell("a holder has no class", false, func(m []peer.Member) []peer.Member { m[2].Class = 0; return m })
	tell("a pool of one", true, func(m []peer.Member) []peer.Member { return m[1:2] })
	tell("a pool of one, and it is another", false, func(m []peer.Member) []peer.Member { return m[3:4] })
	tell("nobody is seen", false, func([]peer.Member) []peer.Member { return nil })
}

// An agent's own reports are its journal, and what a reader keeps is a copy: neither needs receipts.
func TestOwnReportsNeedNoReceipts(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	reading := w.options()
	reading.Reader = true
	reader := w.open(reading)
	j := w.job()
	w.add(s, j.offer)
	w.add(reader, j.offer)
	w.add(s, j.bare(j.report(by(w.agents[3]))))
	w.add(reader, j.bare(j.report()))
	w.check(s, []records.Scope{j.reports(0)}, []refusal{{"another's", j.bare(j.report()), "2 are needed", false}})
	w.check(reader, []records.Scope{j.reports(0)}, []refusal{
		{"forged", forge(j.bare(j.report()), w.agents[0].Key), "does not match", true},
	})
}

// Late reports of a job that is sealed or cancelled are kept, though nobody takes their packs any more.
func TestLateReportsOfEndedJobs(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	for name, end := range map[string]func(*theJob) records.Offer{"seal": (*theJob).seal, "cancel": (*theJob).cancel} {
		j := w.job()
		w.add(s, j.offer)
		w.check(s, []records.Scope{{}, j.reports(0)}, []refusal{{"before the " + name, j.bare(j.report()), "2 are needed", false}})
		w.add(s, end(j))
		w.add(s, j.bare(j.report()))
		w.check(s, []records.Scope{{}, j.reports(0)}, []refusal{
			{"forged, after the " + name, forge(j.bare(j.report()), w.agents[0].Key), "does not match", true},
		})
	}
}

func TestSubmittersWordRefused(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j, unknown := w.job(), w.job()
	w.add(s, j.offer)
	out := jobs.DigestOf([]byte("outcome"))
	good := j.ruling(1, record.RuledUnit{Unit: 0, Outcome: out})
	cancel := j.cancel()
	stranger := identitytest.NewGrid(t).Role(peer.Operator, "it")
	w.check(s, []records.Scope{{}}, []refusal{
		{"ruling on an unknown job", unknown.ruling(1, record.RuledUnit{Outcome: out}), "no live job", false},
		{"cancel of an unknown job", unknown.cancel(), "no live job", false},
		{"seal of an unknown job", unknown.seal(), "no live job", false},
		{"by another submitter", w.signed(record.TypeRuling, good.Envelope.Payload, w.rival), "has not signed", true},
		{"cancel by the coordinator", j.cancelBy(w.coordinator), "expected its submitter or an operator", true},
		{"cancel by another submitter", j.cancelBy(w.rival), "expected its submitter or an operator", true},
		{"cancel by somebody unknown", without(j.cancelBy(w.rival), 0), "no certificate of signer", false},
		{"cancel by an unknown operator", without(j.cancelByOperator(), 0), "no certificate of signer", false},
		{"cancel by an operator of another grid", j.cancelBy(stranger), "of another grid", true},
		{"cancel with two signatures", w.signed(record.TypeCancel, cancel.Envelope.Payload, w.submitter, w.rival), "expected one", true},
		{"cancel with a forged signature", forge(j.cancelByOperator(), w.operator.Key), "does not match", true},
		{"seal by an operator", w.signed(record.TypeSeal, j.seal().Envelope.Payload, w.operator), "has not signed", true},
		{"ruling by an operator", w.signed(record.TypeRuling, good.Envelope.Payload, w.operator), "has not signed", true},
		{"forged", forge(good, w.submitter.Key), "does not match", true},
		{"a cancel's signature on a seal", records.Offer{Record: records.Record{Envelope: record.Envelope{
			Type: record.TypeSeal, Payload: cancel.Envelope.Payload, Signatures: cancel.Envelope.Signatures,
		}}}, "does not match", true},
		{"ruling on no unit of the job", j.ruling(1, record.RuledUnit{Unit: 10, Outcome: out}), "ruling on unit 10, the job has 10", true},
		{"no ruling", w.signed(record.TypeRuling, []byte{1}, w.submitter), "ruling", true},
	})
	w.add(s, good, j.seal(), cancel)
	for i, u := range j.units(s, 0) {
		if u.Status != ledger.Dead {
			t.Errorf("unit %d of a cancelled job is %s", i, u.Status)
		}
	}
}

// What is read ends at the manifest's expiry, what is merged ten minutes later, and both by this peer's clock.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := w.store()
		hour := func(m *manifest.Manifest) { m.Expires = m.Created.Add(time.Hour) }
		j, late, later := w.job(hour), w.job(hour), w.job(hour)
		w.add(s, j.offer)
		at := func(after time.Duration) { time.Sleep(time.Until(j.manifest.Expires.Add(after))) }

		at(0)
		if _, err := s.Job(j.id); err != nil {
			t.Errorf("a job in its last second: %v", err)
		}
		at(time.Millisecond)
		if _, err := s.Job(j.id); jobs.KindOf(err) != jobs.NotFound || len(s.Jobs(false)) > 0 {
			t.Errorf("a job past its time is read: %v", err)
		}
		w.add(s, late.offer, j.offered(j.report()))
		at(ledger.Skew)
		w.add(s, j.offered(j.report()), j.ruling(1, record.RuledUnit{}))
		for i, u := range j.units(s, 0) {
			if u.Status != ledger.Dead {
				t.Errorf("unit %d of an expired job is %s", i, u.Status)
			}
		}
		at(ledger.Skew + time.Millisecond)
		w.check(s, []records.Scope{{}, j.reports(0)}, []refusal{
			{"manifest", later.offer, "expired on", true},
			{"report", j.offered(j.report()), "has expired", true},
			{"ruling", j.ruling(2, record.RuledUnit{}), "has expired", true},
			{"cancel", j.cancel(), "has expired", true},
			{"seal", j.seal(), "has expired", true},
		})
	})
}
