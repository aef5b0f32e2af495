package records_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// world is a grid of four agents, a coordinator, two submitters and an operator. In virtual time, make it in the bubble.
type world struct {
	t           testing.TB
	grid        *identitytest.Grid
	coordinator *identity.Identity
	submitter   *identity.Identity
	rival       *identity.Identity // another submitter
	operator    *identity.Identity
	agents      []*identity.Identity
	pool        []peer.Member
	counter     atomic.Uint64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, grid: identitytest.NewGrid(t)}
	w.coordinator = w.grid.Role(peer.Coordinator, "")
	w.submitter = w.grid.Role(peer.Submitter, "alice")
	w.rival = w.grid.Role(peer.Submitter, "bob")
	w.operator = w.grid.Role(peer.Operator, "it")
	for i := range 4 {
		id := w.grid.Identity(identity.Grant{Role: peer.Agent, Class: peer.AlwaysOn, Owner: fmt.Sprint("owner ", i)})
		w.agents = append(w.agents, id)
		w.pool = append(w.pool, peer.Member{
			ID: id.ID(), Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true, Cores: 1, Address: fmt.Sprintf("10.0.0.%d:1", i+1),
		})
	}
	return w
}

// options are those of a store of the last agent, which signs no report here unless a test says so.
func (w *world) options() records.Options {
	return records.Options{
		Path: filepath.Join(w.t.TempDir(), "records.db"), Root: w.grid.Root(), Self: w.agents[3].ID(),
		Members: func() []peer.Member { return w.pool }, Log: slog.New(slog.DiscardHandler),
	}
}

func (w *world) store() *records.Store { return w.open(w.options()) }

func (w *world) open(o records.Options) *records.Store {
	w.t.Helper()
	s, err := records.Open(o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return s
}

// theJob is a job of the world's submitter.
type theJob struct {
	*world
	id       jobs.JobID
	manifest *manifest.Manifest
	offer    records.Offer
}

func (w *world) job(change ...func(*manifest.Manifest)) *theJob {
	w.t.Helper()
	now := time.Now().Truncate(time.Second)
	m := &manifest.Manifest{
		Name: fmt.Sprint("job-", w.counter.Add(1)), Submitter: w.submitter.ID(), Runtime: manifest.RuntimeWasm,
		Program: jobs.Blob{Digest: jobs.DigestOf([]byte("program")), Size: 7}, Units: 10, Bundle: 2, Quorum: 1,
		Memory: 64 << 20, Timeout: time.Minute, Retries: 1, SuccessCodes: []uint32{0},
		Created: now, Expires: now.Add(24 * time.Hour), MinVersion: 1,
	}
	for _, c := range change {
		c(m)
	}
	payload, err := m.Encode()
	if err != nil {
		w.t.Fatal(err)
	}
	j := &theJob{world: w, manifest: m}
	j.offer = w.signed(record.TypeManifest, payload, w.submitter, w.coordinator)
	j.id = jobs.JobID(j.offer.Envelope.ID())
	return j
}

// signed returns a payload as an offer with its signers' chains.
func (w *world) signed(typ string, payload []byte, first *identity.Identity, more ...*identity.Identity) records.Offer {
	o := records.Offer{Record: records.Record{Envelope: record.Sign(typ, payload, first.Key)}, Chains: [][][]byte{first.Chain}}
	for _, id := range more {
		o.Envelope.Countersign(id.Key)
		o.Chains = append(o.Chains, id.Chain)
	}
	return o
}

// report is a report by the first agent that unit 0 succeeded.
func (j *theJob) report(change ...func(*record.Report)) *record.Report {
	r := &record.Report{
		Job: j.id, Author: j.agents[0].ID(), Counter: j.counter.Add(1), Runtime: "r 1", Platform: "linux/amd64",
		Pack:    jobs.Blob{Digest: jobs.DigestOf([]byte("pack")), Size: 4},
		Bundles: []record.BundleReport{{Units: []record.UnitReport{success(0)}}},
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func success(unit uint64) record.UnitReport {
	return record.UnitReport{
		Unit: unit, Outcome: jobs.DigestOf([]byte("outcome")), Times: jobs.Times{CPU: time.Second, Wall: time.Second},
	}
}

func failure(unit uint64) record.UnitReport {
	return record.UnitReport{Unit: unit, Failure: jobs.Failure{Kind: jobs.FailureTrap, Text: "unreachable"}}
}

// about makes a report one about a unit.
func (j *theJob) about(u record.UnitReport, attempt uint32) func(*record.Report) {
	bundle := j.manifest.BundleOf(u.Unit)
	return func(r *record.Report) {
		r.Shard = j.manifest.ShardOf(bundle)
		r.Bundles = []record.BundleReport{{Bundle: bundle, Attempt: attempt, Units: []record.UnitReport{u}}}
	}
}

func by(id *identity.Identity) func(*record.Report) {
	return func(r *record.Report) { r.Author = id.ID() }
}

// offered signs a report by its author and adds the receipts that it needs.
func (j *theJob) offered(r *record.Report) records.Offer {
	o := j.bare(r)
	o.Receipts = []record.Envelope{j.receipt(j.agents[1], r.Pack), j.receipt(j.agents[2], r.Pack)}
	return o
}

// bare signs a report by its author, or by the first agent if that is nobody of this world.
func (j *theJob) bare(r *record.Report) records.Offer {
	author := j.agents[0]
	for _, id := range slices.Concat(j.agents, []*identity.Identity{j.submitter, j.rival, j.coordinator}) {
		if id.ID() == r.Author {
			author = id
		}
	}
	return j.signed(record.TypeReport, r.Encode(), author)
}

func (j *theJob) receipt(holder *identity.Identity, pack jobs.Blob) record.Envelope {
	r := record.Receipt{Holder: holder.ID(), Blob: pack, Job: j.id}
	return record.Sign(record.TypeReceipt, r.Encode(), holder.Key)
}

func (j *theJob) ruling(sequence uint64, units ...record.RuledUnit) records.Offer {
	r := record.Ruling{Job: j.id, Sequence: sequence, Units: units}
	return j.signed(record.TypeRuling, r.Encode(), j.submitter)
}

func (j *theJob) cancel() records.Offer { return j.cancelBy(j.submitter) }

func (j *theJob) cancelByOperator() records.Offer { return j.cancelBy(j.operator) }

func (j *theJob) cancelBy(id *identity.Identity) records.Offer {
	c := record.Cancel{Job: j.id}
	return j.signed(record.TypeCancel, c.Encode(), id)
}

func (j *theJob) seal() records.Offer {
	c := record.Seal{Job: j.id}
	return j.signed(record.TypeSeal, c.Encode(), j.submitter)
}

func (j *theJob) shard(n uint32) jobs.ShardID { return jobs.ShardID{Job: j.id, Shard: n} }

func (j *theJob) reports(n uint32) records.Scope {
	return records.Scope{Shard: j.shard(n), Reports: true}
}

// add offers records and fails unless all are kept, each named once.
func (w *world) add(s *records.Store, offers ...records.Offer) {
	w.t.Helper()
	kept, refused, err := s.Add(w.t.Context(), offers, false)
	if err != nil || len(refused) > 0 {
		w.t.Fatalf("kept %d of %d, refused %v, %v", len(kept), len(offers), refused, err)
	}
	want := map[jobs.Digest]bool{}
	for _, o := range offers {
		want[o.Envelope.ID()] = true
	}
	if len(kept) != len(want) {
		w.t.Fatalf("kept %d IDs, expected %d", len(kept), len(want))
	}
}

// units returns what the store shows of all units of a shard.
func (j *theJob) units(s *records.Store, shard uint32) []ledger.Unit {
	j.t.Helper()
	var units []ledger.Unit
	err := s.WithLedger(j.shard(shard), func(l *ledger.Ledger) {
		first, n := l.Units()
		for u := first; u < first+n; u++ {
			units = append(units, l.Unit(u, time.Now()))
		}
	})
	if err != nil {
		j.t.Fatal(err)
	}
	return units
}
