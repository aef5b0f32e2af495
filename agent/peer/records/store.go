package records

import (
	"errors"
	"fmt"
	"log/slog"
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
	used    map[account]uint64
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
		used: map[account]uint64{},
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

// load reads chains, then records. Signatures were checked when the records came in. A record that no longer
// decodes ends the start with its key.
func (s *Store) load(now time.Time) error {
	var stale []jobs.JobID
	err := s.db.View(func(tx *bbolt.Tx) error {
		if err := tx.Bucket(bucketChains).ForEach(s.loadChain); err != nil {
			return err
		}
		return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
			a, err := s.loadOne(k, v)
			if err != nil {
				return jobs.Errorf(jobs.Corrupt, "read record %x: %w", k, err)
			}
			if !s.applyStored(a, now) && !slices.Contains(stale, a.job) {
				stale = append(stale, a.job)
			}
			return nil
		})
	})
	if err != nil {
		return jobs.WithHint(fmt.Errorf("%s is damaged: %w", s.o.Path, err),
			"move it away and start again: what others keep comes back from them")
	}
	for _, job := range stale {
		err = errors.Join(err, s.forget(job))
	}
	return err
}

func (s *Store) loadChain(k, v []byte) error {
	var chain gridv1.Chain
	err := proto.Unmarshal(v, &chain)
	var a author
	if err == nil {
		a, err = s.verifyChain(chain.GetCertificates())
	}
	if err != nil {
		return jobs.Errorf(jobs.Corrupt, "read the certificate chain of %x: %w", k, err)
	}
	s.authors[a.ID] = a
	return nil
}

// applyStored brings a record from the disk into memory, unless its job is past its time. Records come in the
// order of their keys, so that one whose manifest was not there before it is left over from a job that was
// forgotten.
func (s *Store) applyStored(a accepted, now time.Time) bool {
	m, ok := a.payload.(*manifest.Manifest)
	if ok && expired(m, now.Add(-ledger.Skew)) {
		return false
	}
	if !ok {
		job := s.jobs[a.job]
		if job == nil {
			return false
		}
		a.charge(job.Manifest)
		s.count(a)
	}
	s.apply(a)
	return true
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
		return accepted{}, jobs.Errorf(jobs.Corrupt, "it lies under a key that is not its own")
	}
	if report, ok := a.payload.(*record.Report); ok {
		a.owner = s.authors[report.Author].Owner
	}
	return a, nil
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
	for a := range s.used {
		if a.shard.Job == job {
			delete(s.used, a)
		}
	}
}

func expired(m *manifest.Manifest, now time.Time) bool { return now.After(m.Expires) }
