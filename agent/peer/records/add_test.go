package records_test

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// A record is kept once, however often it comes: within a call, in a later one, at the same time from many.
func TestOfferedTwiceIsKeptOnce(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	report := j.offered(j.report())
	ruling := j.ruling(1, record.RuledUnit{Unit: 1, Outcome: jobs.DigestOf([]byte("outcome"))})
	all := []records.Offer{report, j.offer, ruling, report, j.offer, ruling}
	w.add(s, all...)
	w.add(s, all...)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if kept, refused, err := s.Add(t.Context(), all, false); err != nil || len(refused) > 0 || len(kept) != 3 {
				t.Errorf("kept %v, refused %v, %v", kept, refused, err)
			}
		})
	}
	wg.Wait()
	fresh := j.offered(j.report(j.about(failure(4), 0)))
	for range 8 { // none of them finds it here
		wg.Go(func() {
			if kept, refused, err := s.Add(t.Context(), []records.Offer{fresh}, false); err != nil || len(refused) > 0 || len(kept) != 1 {
				t.Errorf("kept %v, refused %v, %v", kept, refused, err)
			}
		})
	}
	wg.Wait()
	if n := len(s.IDs(j.reports(0))); n != 2 {
		t.Errorf("two reports are kept as %d", n)
	}
	if n := len(s.IDs(records.Scope{})); n != 2 {
		t.Errorf("a manifest and a ruling are kept as %d", n)
	}
	if used, _ := s.Used(j.shard(0), w.agents[0].ID()); used != 2 {
		t.Errorf("two unit reports count as %d", used)
	}
	if used, _ := s.Used(j.shard(0), w.submitter.ID()); used != 2 {
		t.Errorf("a ruling on a unit counts as %d", used)
	}
}

// Of two offers of one record in a call the good one counts, whatever its place.
func TestBadCopyDoesNotShadowTheGood(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	w.add(s, j.offer)
	report := j.offered(j.report())
	kept, refused, err := s.Add(t.Context(), []records.Offer{forge(report, w.agents[0].Key), report}, false)
	if err != nil || len(kept) != 1 || len(refused) != 1 {
		t.Errorf("kept %v, refused %v, %v", kept, refused, err)
	}
}

// What comes in one call with its manifest finds it, wherever in the call it stands.
func TestManifestComesFirst(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	w.add(s, j.offered(j.report()), j.cancel(), j.seal(), j.ruling(1, record.RuledUnit{}), j.offer)
}

func TestChangesAreTold(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	var mu sync.Mutex
	got := map[records.Change]int{}
	o.OnChange = func(c records.Change) {
		mu.Lock()
		defer mu.Unlock()
		got[c]++
	}
	s := w.open(o)
	j := w.job()
	w.add(s, j.offer, j.offered(j.report()), j.offered(j.report()))
	w.add(s, j.offer)
	if _, _, err := s.Add(t.Context(), []records.Offer{j.offer}, true); err != nil {
		t.Fatal(err)
	}
	w.add(s, j.cancel())
	want := map[records.Change]int{
		{Job: j.id, Ended: j.cancel().Envelope.ID()}: 1,
		{Job: j.id}: 1, {Job: j.id, Scope: j.reports(0)}: 1, {Job: j.id, Fresh: true}: 1,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("told of %v, expected %v", got, want)
	}
	job, err := s.Job(j.id)
	if err != nil || job.Fresh.IsZero() {
		t.Errorf("a job that was handed over is fresh since %v, %v", job.Fresh, err)
	}
}

// TestP11FloodOfOneAuthor: one author's flood ends at that author's own bound, and takes nobody else's room.
func TestP11FloodOfOneAuthor(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job(func(m *manifest.Manifest) { m.Units, m.Bundle, m.Retries = 1, 1, 0 })
	w.add(s, j.offer)
	limit := records.Spare + 2
	var flood []records.Offer
	for range limit + 3 {
		flood = append(flood, j.offered(j.report(j.about(failure(0), 0))))
	}
	kept, refused, err := s.Add(t.Context(), flood, false)
	if err != nil || len(kept) != limit || len(refused) != 3 {
		t.Fatalf("kept %d, refused %d, %v", len(kept), len(refused), err)
	}
	if r := refused[0]; r.Final {
		t.Errorf("want of room is for good: %+v", r)
	}
	w.add(s, flood[0]) // it is kept still
	honest := j.offered(j.report(by(w.agents[1])))
	w.add(s, honest, j.ruling(1, record.RuledUnit{Outcome: jobs.DigestOf([]byte("outcome"))}))
	if u := j.units(s, 0)[0]; u.Status != ledger.Accepted || u.From.Author != w.agents[1].ID() {
		t.Errorf("the honest report is not what counts: %+v", u)
	}
	other := w.job()
	w.add(s, other.offer, other.offered(other.report()))
}

// TestP11BystanderOfManyShards: a peer keeps reports of shards that others steward, and of one author no more than one
// shard may have, however many shards the job has. Of those that it stewards it keeps all.
func TestP11BystanderOfManyShards(t *testing.T) {
	w := newWorld(t)
	const shards, each = 60, 1024
	j := w.job(func(m *manifest.Manifest) { m.Units, m.Bundle, m.Retries = shards*manifest.ShardBundles, 1, 0 })
	w.pool = append(w.pool, w.pool[0], w.pool[0], w.pool[0])
	for i := range 3 { // so that most shards have other stewards
		w.pool[4+i].ID = jobs.AgentID(jobs.DigestOf([]byte{byte(i)}))
	}
	o := w.options()
	s := w.open(o)
	w.add(s, j.offer)
	limit := uint64(records.Spare + 2*manifest.ShardBundles)
	full := func(shard uint32) records.Offer {
		return j.offered(j.report(func(r *record.Report) {
			first, _ := j.manifest.ShardRange(shard)
			r.Shard, r.Bundles = shard, nil
			for b := first; b < first+each; b++ {
				r.Bundles = append(r.Bundles, record.BundleReport{Bundle: b, Units: []record.UnitReport{success(b)}})
			}
		}))
	}
	mine, others, tooMuch := 0, uint64(0), 0
	for shard := range uint32(shards) {
		steward := slices.ContainsFunc(peer.Stewards(j.shard(shard), w.pool), func(m peer.Member) bool { return m.ID == o.Self })
		kept, refused, err := s.Add(t.Context(), []records.Offer{full(shard)}, false)
		switch {
		case err != nil || len(refused) > 0 && refused[0].Final:
			t.Fatal(refused, err)
		case steward && len(kept) == 0:
			t.Errorf("a steward refuses: %+v", refused)
		case steward:
			mine++
		case len(kept) > 0:
			others += each
		default:
			tooMuch++
		}
	}
	if mine == 0 || others == 0 || others > limit || tooMuch == 0 {
		t.Errorf("stewards %d of %d shards, keeps %d units of others', expected 1 to %d, and %d reports are too much", mine, shards, others, limit, tooMuch)
	}
	w.add(s, j.offered(j.report(by(w.agents[1])))) // it has room of its own
}

// The bounds are the same after a restart, and a submitter has one, too.
func TestFloodGoesOnAfterARestart(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	s := w.open(o)
	j := w.job(func(m *manifest.Manifest) { m.Units, m.Bundle = 512, 512 })
	w.add(s, j.offer, j.cancel(), j.seal())
	var units []record.RuledUnit
	var done []record.UnitReport
	for u := range j.manifest.Units {
		units = append(units, record.RuledUnit{Unit: u})
		done = append(done, success(u))
	}
	w.add(s, j.offered(j.report(func(r *record.Report) { r.Bundles[0].Units = done })))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = w.open(o)
	if used, n := s.Used(j.shard(0), w.agents[0].ID()); used != 512 || n != 2 {
		t.Errorf("%d units in %d accounts", used, n)
	}
	kept := 0
	for sequence := range uint64(6) {
		k, refused, err := s.Add(t.Context(), []records.Offer{j.ruling(sequence, units...)}, false)
		if err != nil {
			t.Fatal(err)
		}
		kept += len(k)
		for _, r := range refused {
			if r.Final {
				t.Errorf("want of room is for good: %+v", r)
			}
		}
	}
	if kept != 3 { // 1024 to spare and twice 512; cancel and seal took 2 of it, each ruling takes 513
		t.Errorf("%d rulings on all units are kept", kept)
	}
}

// An operator ends a job whose submitter has said all that it may, and every peer and restart knows.
func TestOperatorsCancelHasItsOwnRoom(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	s := w.open(o)
	j := w.job(func(m *manifest.Manifest) { m.Units, m.Bundle = 1, 1 })
	w.add(s, j.offer)
	var flood []records.Offer
	for sequence := range uint64(records.Spare) {
		flood = append(flood, j.ruling(sequence, record.RuledUnit{Outcome: jobs.DigestOf([]byte("outcome"))}))
	}
	if _, refused, err := s.Add(t.Context(), append(flood, j.seal()), false); err != nil || len(refused) == 0 {
		t.Fatalf("the submitter's flood was not refused: %v", err)
	}
	w.add(s, j.cancelByOperator())
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = w.open(o)
	if used, n := s.Used(j.shard(0), w.operator.ID()); used != 1 || n != 2 {
		t.Errorf("the operator's account has %d of %d accounts", used, n)
	}
	if open := s.Jobs(true); len(open) > 0 {
		t.Errorf("the job may run again after a restart")
	}
	cancel, err := s.Get(j.cancel().Envelope.ID())
	if err != nil || len(cancel.Chains) != 1 {
		t.Fatalf("the cancel is passed on with %d chains: %v", len(cancel.Chains), err)
	}
	other := w.store()
	w.add(other, j.offer, cancel)
	if len(other.Jobs(true)) > 0 {
		t.Errorf("a peer that it was passed on to takes the job for alive")
	}
}

// Nothing of a call that could not be written is left in memory.
func TestNothingIsKeptWithoutTheDisk(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	w.add(s, j.offer)
	before := s.Digest(j.reports(0))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	report := j.offered(j.report())
	if kept, _, err := s.Add(ended, []records.Offer{report}, false); !errors.Is(err, context.Canceled) || len(kept) > 0 {
		t.Errorf("kept %v, %v", kept, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if kept, _, err := s.Add(t.Context(), []records.Offer{report}, false); err == nil || len(kept) > 0 {
		t.Errorf("kept %v after Close, %v", kept, err)
	}
	if used, n := s.Used(j.shard(0), w.agents[0].ID()); s.Digest(j.reports(0)) != before || used+uint64(n) > 0 {
		t.Errorf("%d units in %d accounts stay", used, n)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

// Asking for shards makes nobody keep ledgers.
func TestLedgersAreKeptForReportsOnly(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job(func(m *manifest.Manifest) { m.Units, m.Bundle = 4*manifest.ShardBundles, 1 })
	w.add(s, j.offer, j.ruling(1, record.RuledUnit{}), j.offered(j.report(j.about(success(manifest.ShardBundles), 0))))
	for n := range j.manifest.Shards() {
		if got := j.units(s, n); len(got) != manifest.ShardBundles {
			t.Errorf("shard %d has %d units", n, len(got))
		}
	}
	if n := s.Ledgers(j.id); n != 1 {
		t.Errorf("%d ledgers are kept of a job with reports of one shard", n)
	}
	if err := s.WithLedger(j.shard(4), func(*ledger.Ledger) {}); jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("a shard that the job does not have: %v", err)
	}
	if own := s.OwnShards(); len(own) != 1 || own[0] != j.shard(1) {
		t.Errorf("own shards are %v", own)
	}
}

// Bytes count where units do not explain them: what this version does not know of a record is kept with it.
func TestPaddingIsCharged(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	w.add(s, j.offer)
	padded := func(r *record.Report, padding int) records.Offer {
		payload := protowire.AppendTag(r.Encode(), 1000, protowire.BytesType)
		payload = protowire.AppendBytes(payload, make([]byte, padding))
		o := j.signed(record.TypeReport, payload, w.agents[0])
		o.Receipts = j.offered(r).Receipts
		return o
	}
	long := failure(1)
	long.Failure.Text = strings.Repeat("x", jobs.MaxFailureText)
	w.add(s, j.offered(j.report()), j.offered(j.report(j.about(long, 0))))
	if used, _ := s.Used(j.shard(0), w.agents[0].ID()); used != 2 {
		t.Errorf("two honest units count as %d", used)
	}
	w.add(s, padded(j.report(), 100<<10))
	if used, _ := s.Used(j.shard(0), w.agents[0].ID()); used < 400 {
		t.Errorf("100 KiB of padding count as %d units", used)
	}
	_, refused, err := s.Add(t.Context(), []records.Offer{padded(j.report(), 1<<20)}, false)
	if err != nil || len(refused) != 1 {
		t.Errorf("1 MiB of padding: refused %v, %v", refused, err)
	}
}

// TestP11ReportsOfNoUnits: an agent that leaves a shard says what it spent on it in a report without a pack, which needs
// no receipts, and cannot say so without end.
func TestP11ReportsOfNoUnits(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	j := w.job()
	left := func() records.Offer {
		return j.bare(j.report(func(r *record.Report) { r.Bundles, r.Pack, r.Lost = nil, jobs.Blob{}, time.Second }))
	}
	one := left()
	w.add(s, j.offer, one)
	if _, _, enough, err := s.Holders(one.Envelope.ID()); !enough || err != nil {
		t.Errorf("its pack lacks holders, though it has none: %v", err)
	}
	if used, _ := s.Used(j.shard(0), w.agents[0].ID()); used != 1 {
		t.Errorf("it counts as %d", used)
	}
	kept := 1
	for range 10 {
		var more []records.Offer
		for range records.Spare / 2 {
			more = append(more, left())
		}
		k, _, err := s.Add(t.Context(), more, false)
		if err != nil {
			t.Fatal(err)
		}
		kept += len(k)
	}
	if most := records.Spare + 2*2*int(j.manifest.Units); kept != most {
		t.Errorf("%d are kept, expected %d", kept, most)
	}
	w.add(s, j.offered(j.report(by(w.agents[1])))) // the room of others is theirs
}
