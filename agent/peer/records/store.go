package records

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// MaxJobs bounds the live manifests that one peer keeps. Each is countersigned by the coordinator, so the
// bound guards memory and not trust.
const MaxJobs = 10_000

// Options say what a Store needs.
type Options struct {
	Path    string               // of the bbolt file; its folder exists
	Root    []byte               // the grid's root certificate, DER
	Self    jobs.AgentID         // whose journal this is; reports of its own need no receipts here
	Members func() []peer.Member // the pool as seen now
	Log     *slog.Logger
	// Reader is set where the store is a reader's working copy, made anew each time: nothing needs to survive
	// a crash, and receipts are left to the stewards that the records come from.
	Reader bool
	// OnChange is called after records were added, from the goroutine that added them, with no lock held. It
	// may be nil.
	OnChange func(Change)
}

// Change says what Add learned.
type Change struct {
	Job   jobs.JobID
	Scope Scope
	Fresh bool // the coordinator has just handed the job's manifest over
}

// Scope is a set of records that is compared as one: what every peer knows, or the reports of a shard.
type Scope struct {
	Shard   jobs.ShardID
	Reports bool // false: the manifests, rulings, cancels and seals of all jobs
}

// Job is a live job.
type Job struct {
	ID       jobs.JobID
	Manifest *manifest.Manifest
	Fresh    time.Time // when the coordinator itself handed the manifest over; zero: learned otherwise
}

// Store is the records of one peer.
type Store struct {
	o    Options
	log  *slog.Logger
	db   *bbolt.DB
	boot uint64

	mu      sync.Mutex // guards everything below
	jobs    map[jobs.JobID]*liveJob
	authors map[jobs.KeyID]author
	index   map[jobs.Digest]key
	scopes  map[Scope]*scopeIDs
	closed  bool
}

type liveJob struct {
	Job
	common  []commonRecord // rulings, cancel, seal: applied to each ledger as it is made
	ledgers map[uint32]*ledger.Ledger
	sealed  bool
	dead    bool
}

type commonRecord struct {
	id      jobs.Digest
	payload payload
}

type scopeIDs struct {
	ids    map[jobs.Digest]struct{}
	digest *jobs.Digest // nil: must be computed again
}

// Open opens or creates the store and reads what it holds.
func Open(o Options) (*Store, error) {
	db, err := openDB(o.Path)
	if err != nil {
		return nil, err
	}
	db.NoSync = o.Reader
	s := &Store{
		o: o, log: o.Log.With("component", "records"), db: db,
		jobs: map[jobs.JobID]*liveJob{}, authors: map[jobs.KeyID]author{},
		index: map[jobs.Digest]key{}, scopes: map[Scope]*scopeIDs{},
	}
	if s.boot, err = nextBoot(db); err == nil {
		err = s.load(time.Now())
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return s, nil
}

// Close closes the file. Twice is harmless.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	return s.db.Close()
}

// Boot returns how often this state folder was opened, this time included.
func (s *Store) Boot() uint64 { return s.boot }

// DB is the peer's one bbolt file, for the small values of other rooms: each has a bucket of its own.
func (s *Store) DB() *bbolt.DB { return s.db }

// load reads chains, then records in key order, so that a manifest comes before what needs it. Signatures
// were checked when the records came in; a record that no longer decodes ends the start with its key.
func (s *Store) load(now time.Time) error {
	var stale []jobs.JobID
	err := s.db.View(func(tx *bbolt.Tx) error {
		err := tx.Bucket(bucketChains).ForEach(func(k, v []byte) error {
			var chain gridv1.Chain
			if err := proto.Unmarshal(v, &chain); err != nil {
				return fmt.Errorf("read the certificate chain of %x: %w", k, err)
			}
			a, err := s.verifyChain(chain.GetCertificates())
			if err == nil {
				s.authors[a.ID] = a
			}
			return err
		})
		if err != nil {
			return err
		}
		return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
			a, err := s.loadOne(k, v)
			if err != nil {
				return fmt.Errorf("read record %x: %w", k, err)
			}
			if m, ok := a.payload.(*manifest.Manifest); ok && expired(m, now) {
				stale = append(stale, a.job)
				return nil
			}
			s.apply(a)
			return nil
		})
	})
	for _, job := range stale {
		err = errors.Join(err, s.forget(job))
	}
	return err
}

func (s *Store) loadOne(k, v []byte) (accepted, error) {
	r, err := decodeStored(v)
	if err != nil {
		return accepted{}, err
	}
	a, err := decodePayload(r)
	if err != nil {
		return accepted{}, err
	}
	if string(a.key[:]) != string(k) {
		return accepted{}, jobs.Errorf(jobs.Corrupt, "lies under a key that is not its own")
	}
	if report, ok := a.payload.(*record.Report); ok {
		a.owner = s.authors[report.Author].Owner
	}
	return a, nil
}

// Add verifies offers and keeps the good ones; it returns after they are on disk. The error is the disk's:
// nothing is kept then.
func (s *Store) Add(ctx context.Context, offers []Offer, fresh bool) (kept []jobs.Digest, refused []Refusal, err error) {
	var add []accepted
	for _, o := range offers {
		id := o.Envelope.ID()
		if s.has(id) {
			kept = append(kept, id)
			if fresh {
				s.refresh(id)
			}
			continue
		}
		a, err := s.verify(o, time.Now())
		if err != nil {
			refused = append(refused, Refusal{ID: id, Reason: err.Error(), Final: final(err)})
			continue
		}
		a.fresh = fresh
		add = append(add, a)
	}
	if len(add) == 0 {
		return kept, refused, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if err := s.write(add); err != nil {
		return nil, nil, fmt.Errorf("write records: %w", err)
	}
	changes := map[Change]struct{}{}
	s.mu.Lock()
	for _, a := range add {
		s.apply(a)
		changes[Change{Job: a.job, Scope: a.scope(), Fresh: a.fresh}] = struct{}{}
		kept = append(kept, a.id)
	}
	s.mu.Unlock()
	for c := range changes {
		s.changed(c)
	}
	return kept, refused, nil
}

// refresh notes that a manifest which is here already is new to the grid: the coordinator pushes it twice,
// first so that its blobs are taken, then when they are all in place.
func (s *Store) refresh(id jobs.Digest) {
	s.mu.Lock()
	job := s.jobs[jobs.JobID(id)]
	if job != nil {
		job.Fresh = time.Now()
	}
	s.mu.Unlock()
	if job != nil {
		s.changed(Change{Fresh: true, Job: jobs.JobID(id)})
	}
}

func (s *Store) changed(c Change) {
	if s.o.OnChange != nil {
		s.o.OnChange(c)
	}
}

// apply brings a verified record into memory. It is idempotent; the caller holds the lock or is alone.
func (s *Store) apply(a accepted) {
	for id, author := range a.newAuthors {
		s.authors[id] = author
	}
	if m, ok := a.payload.(*manifest.Manifest); ok {
		if s.jobs[a.job] == nil {
			s.jobs[a.job] = &liveJob{Job: Job{ID: a.job, Manifest: m}, ledgers: map[uint32]*ledger.Ledger{}}
		}
		if a.fresh {
			s.jobs[a.job].Fresh = time.Now()
		}
	}
	job := s.jobs[a.job]
	if job == nil {
		return // its manifest expired while this was verified
	}
	s.index[a.id] = a.key
	scope := s.scopes[a.scope()]
	if scope == nil {
		scope = &scopeIDs{ids: map[jobs.Digest]struct{}{}}
		s.scopes[a.scope()] = scope
	}
	scope.ids[a.id] = struct{}{}
	scope.digest = nil
	switch p := a.payload.(type) {
	case *record.Report:
		if _, err := job.ledger(p.Shard).AddReport(a.id, p, a.owner); err != nil {
			// unitsExist let through what the ledger does not take: a mistake of this program.
			s.log.Error("ledger refuses a verified report", "id", a.id, "err", err)
		}
	case *record.Ruling, *record.Cancel, *record.Seal:
		job.addCommon(commonRecord{a.id, p})
	}
}

func (j *liveJob) addCommon(c commonRecord) {
	j.common = append(j.common, c)
	for _, l := range j.ledgers {
		c.applyTo(l)
	}
	switch c.payload.(type) {
	case *record.Cancel:
		j.dead = true
	case *record.Seal:
		j.sealed = true
	}
}

func (c commonRecord) applyTo(l *ledger.Ledger) {
	switch p := c.payload.(type) {
	case *record.Ruling:
		l.AddRuling(c.id, p)
	case *record.Cancel:
		l.Cancel()
	case *record.Seal:
		l.Seal()
	}
}

// ledger returns the shard's ledger, made on first use.
func (j *liveJob) ledger(shard uint32) *ledger.Ledger {
	l := j.ledgers[shard]
	if l == nil {
		l = ledger.New(ledger.TermsOf(j.ID, j.Manifest, shard))
		for _, c := range j.common {
			c.applyTo(l)
		}
		j.ledgers[shard] = l
	}
	return l
}

func (s *Store) has(id jobs.Digest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.index[id]
	return ok
}

// Job returns a live job. A job past its time is not found, even before Sweep forgets it.
func (s *Store) Job(id jobs.JobID) (Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil || expired(j.Manifest, time.Now()) {
		return Job{}, jobs.Errorf(jobs.NotFound, "no live job %s is known here", id.Short())
	}
	return j.Job, nil
}

// Jobs returns the live jobs, oldest first. With runnable, only those that are neither cancelled nor sealed.
func (s *Store) Jobs(runnable bool) []Job {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Job
	for _, j := range s.jobs {
		if !expired(j.Manifest, now) && (!runnable || !j.dead && !j.sealed) {
			out = append(out, j.Job)
		}
	}
	slices.SortFunc(out, func(a, b Job) int {
		if c := a.Manifest.Created.Compare(b.Manifest.Created); c != 0 {
			return c
		}
		return jobs.Digest(a.ID).Compare(jobs.Digest(b.ID))
	})
	return out
}

// WithLedger calls f with the shard's ledger. The ledger must not leave f, and f must not block.
func (s *Store) WithLedger(shard jobs.ShardID, f func(*ledger.Ledger)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[shard.Job]
	if j == nil {
		return jobs.Errorf(jobs.NotFound, "no live job %s is known here", shard.Job.Short())
	}
	if shard.Shard >= j.Manifest.Shards() {
		return jobs.Errorf(jobs.Invalid, "job %s has %d shards, no number %d", shard.Job.Short(), j.Manifest.Shards(), shard.Shard)
	}
	f(j.ledger(shard.Shard))
	return nil
}

// OwnShards returns the shards of live jobs that hold at least one record.
func (s *Store) OwnShards() []jobs.ShardID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []jobs.ShardID
	for scope := range s.scopes {
		if scope.Reports {
			out = append(out, scope.Shard)
		}
	}
	return out
}

// Digest returns the SHA-256 over the sorted IDs of a scope: equal digests mean equal records.
func (s *Store) Digest(scope Scope) jobs.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.scopes[scope]
	if ids == nil {
		return jobs.DigestOf(nil)
	}
	if ids.digest == nil {
		h := sha256.New()
		for _, id := range slices.SortedFunc(maps.Keys(ids.ids), jobs.Digest.Compare) {
			h.Write(id[:])
		}
		d := jobs.Digest(h.Sum(nil))
		ids.digest = &d
	}
	return *ids.digest
}

// IDs returns the IDs of a scope, sorted.
func (s *Store) IDs(scope Scope) []jobs.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.scopes[scope]
	if ids == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(ids.ids), jobs.Digest.Compare)
}

// Get returns a record with the chains of its signers, as it is offered to others.
func (s *Store) Get(id jobs.Digest) (Offer, error) {
	s.mu.Lock()
	k, ok := s.index[id]
	s.mu.Unlock()
	if !ok {
		return Offer{}, jobs.Errorf(jobs.NotFound, "no record %s is kept here", id)
	}
	r, err := s.read(k)
	if err != nil {
		return Offer{}, err
	}
	o := Offer{Record: r}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sig := range r.Envelope.Signatures {
		if a, ok := s.authors[sig.Signer()]; ok {
			o.Chains = append(o.Chains, a.chain)
		}
	}
	return o, nil
}

// Sweep forgets the jobs that are past their time by more than ledger.Skew and returns them, so that their blobs
// can go too.
func (s *Store) Sweep(now time.Time) ([]jobs.JobID, error) {
	var gone []jobs.JobID
	s.mu.Lock()
	for id, j := range s.jobs {
		if expired(j.Manifest, now.Add(-ledger.Skew)) {
			gone = append(gone, id)
			delete(s.jobs, id)
		}
	}
	for _, id := range gone {
		s.dropIndex(id)
	}
	s.mu.Unlock()
	var errs error
	for _, id := range gone {
		errs = errors.Join(errs, s.forget(id))
	}
	return gone, errs
}

// dropIndex removes a job's records from memory; the caller holds the lock.
func (s *Store) dropIndex(job jobs.JobID) {
	for id, k := range s.index {
		if jobs.JobID(k[:32]) == job {
			delete(s.index, id)
			if common := s.scopes[Scope{}]; common != nil {
				delete(common.ids, id)
				common.digest = nil
			}
		}
	}
	for scope := range s.scopes {
		if scope.Shard.Job == job {
			delete(s.scopes, scope)
		}
	}
}

func expired(m *manifest.Manifest, now time.Time) bool { return now.After(m.Expires) }
