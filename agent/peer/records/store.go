package records

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/durable"
	"idlegrid/agent/peer/failpoint"
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
	Disk   *durable.Disk // written through; may be nil
	// Wall is the time by which it is decided what has expired; nil: time.Now.
	Wall func() time.Time
	// Clock is this machine's, as others are told it to compare it with theirs; nil: Wall.
	Clock func() time.Time
	// OnChange is called after records were added, from the goroutine that added them, with no lock held. It
	// may be nil.
	OnChange func(Change)
}

// Change says what Add learned.
type Change struct {
	Job   jobs.JobID
	Scope Scope
	Fresh bool // the coordinator has just handed the job's manifest over
	// Ended is the cancel or seal that ended the job, where one did.
	Ended jobs.Digest
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
	// usedOfJob is used, of all shards of a job together.
	usedOfJob map[account]uint64
	ended     map[jobs.JobID]ended
	holders   holders
	closed    bool
}

type liveJob struct {
	Job
	common  []commonRecord // rulings, cancel, seal: applied to each ledger as it is made
	ledgers map[uint32]*ledger.Ledger
	sealed  bool
	dead    bool
	ended   time.Time // when this process learned that it is one of these
	freed   bool      // its blobs may go
}

// over reports whether the job was cancelled or sealed: nothing of it runs any more.
func (j *liveJob) over() bool { return j.dead || j.sealed }

// ended is a job past its time: out of memory, still on disk.
type ended struct {
	expires time.Time
	since   time.Time // when this process saw it first
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
func Open(o Options) (s *Store, err error) {
	// bbolt panics where a page is not what others say it is, and the system ends who reads behind a file's end.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, damaged(o.Path, fmt.Errorf("%v", p))
		}
	}()
	return open(o)
}

// damaged says what to do about a file that cannot be read.
func damaged(path string, err error) error {
	return jobs.WithHint(jobs.Errorf(jobs.Corrupt, "%s is damaged: %w", path, err),
		"move it away and start again: what others keep comes back from them")
}

func open(o Options) (*Store, error) {
	if o.Wall == nil {
		o.Wall = time.Now
	}
	if o.Clock == nil {
		o.Clock = o.Wall
	}
	db, err := openDB(o.Path)
	if err != nil {
		return nil, err
	}
	db.NoSync = o.Reader
	s := &Store{
		o: o, log: o.Log.With("component", "records"), db: db,
		jobs: map[jobs.JobID]*liveJob{}, authors: map[jobs.KeyID]author{},
		index: map[jobs.Digest]key{}, scopes: map[Scope]*scopeIDs{},
		used: map[account]uint64{}, usedOfJob: map[account]uint64{}, ended: map[jobs.JobID]ended{},
		holders: holders{last: map[jobs.AgentID]sighting{}},
	}
	if s.boot, err = nextBoot(db, o.Wall()); err == nil {
		failpoint.Hit("records.loading")
		var known []Record
		known, err = s.load(o.Wall())
		err = errors.Join(db.View(s.loadSeen), err, s.learn(known))
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

// Boot returns the number of this start of the peer: higher than that of any before.
func (s *Store) Boot() uint64 { return s.boot }

// DB is the peer's one bbolt file, for the small values of other rooms: each has a bucket of its own.
func (s *Store) DB() *bbolt.DB { return s.db }

// load reads chains, then records; what is in memory already stays as it is. Signatures were checked when the
// records came in. A record that no longer decodes ends the start with its key. It returns the records that are for
// learn. The caller holds the lock or is alone.
func (s *Store) load(now time.Time) (known []Record, err error) {
	var stale []jobs.JobID
	err = s.db.View(func(tx *bbolt.Tx) error {
		if err := tx.Bucket(bucketChains).ForEach(s.loadChain); err != nil {
			return err
		}
		return tx.Bucket(bucketRecords).ForEach(func(k, v []byte) error {
			a, err := s.loadOne(k, v)
			if err != nil {
				return jobs.Errorf(jobs.Corrupt, "read record %x: %w", k, err)
			}
			if _, unread := a.payload.(later); isLater(k) && !unread {
				known = append(known, a.Record)
				return nil
			}
			s.applyStored(a, now)
			if !s.known(a.job) && !slices.Contains(stale, a.job) {
				stale = append(stale, a.job)
			}
			return nil
		})
	})
	if err != nil {
		return nil, damaged(s.o.Path, err)
	}
	for _, job := range stale {
		err = errors.Join(err, s.forget(job))
	}
	return known, err
}

// learn takes in what was kept when its type was not known, and is now. Nobody has looked yet whether its author may
// say that; what was good is kept a second time, by its kind. It tells nobody of a change.
func (s *Store) learn(known []Record) error {
	var add []accepted
	for _, r := range known {
		if s.has(r.Envelope.ID()) {
			continue
		}
		a, err := s.verify(Offer{Record: r}, s.o.Wall())
		if err == nil {
			err = s.reserve(a)
		}
		if err != nil {
			s.log.Info("a record that was kept before its type was known does not count", "id", r.Envelope.ID(), "err", err)
			continue
		}
		add = append(add, a)
	}
	if len(add) == 0 {
		return nil
	}
	if err := s.write(add); err != nil {
		return fmt.Errorf("write records: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range add {
		s.apply(a)
	}
	return nil
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
// deleted.
func (s *Store) applyStored(a accepted, now time.Time) {
	m, ok := a.payload.(*manifest.Manifest)
	job := s.jobs[a.job]
	switch {
	case ok && pastTime(m, now):
		s.end(a.job, m, now)
		return
	case !ok && job == nil:
		return
	case !ok:
		a.charge(job.Manifest)
		s.count(a)
	}
	s.apply(a)
}

// known reports whether a job is live or on disk; the caller holds the lock or is alone.
func (s *Store) known(job jobs.JobID) bool {
	_, ok := s.ended[job]
	return ok || s.jobs[job] != nil
}

// Keeps reports whether the records of a job are here, be it live or past its time.
func (s *Store) Keeps(job jobs.JobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known(job)
}

// IsEmpty reports whether no job is known here: nothing came here yet, or the records were lost.
func (s *Store) IsEmpty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.jobs)+len(s.ended) == 0
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
	if _, unread := a.payload.(later); unread && len(k) == len(a.key) {
		copy(a.key[32:37], k[32:37]) // where a later version put it, which knew its type
	}
	if own := string(a.key[:]) == string(k) || isLater(k) && sameBut(a.key, k); !own {
		return accepted{}, jobs.Errorf(jobs.Corrupt, "it lies under a key that is not its own")
	}
	if report, ok := a.payload.(*record.Report); ok {
		a.owner = s.authors[report.Author].Owner
	}
	return a, nil
}

// isLater reports whether a record's type was not known when it was stored under that key.
func isLater(k []byte) bool { return len(k) == len(key{}) && k[32] == byte(kindLater) }

// sameBut reports whether a stored key is one's own but for the kind and shard.
func sameBut(own key, k []byte) bool {
	return len(k) == len(own) && string(own[:32]) == string(k[:32]) && string(own[37:]) == string(k[37:])
}

// keepEnded and keepRunning are when a job that is past its time may be deleted: so long after its expiry, and
// after it was past its time in this process for so long.
const (
	keepEnded   = 72 * time.Hour
	keepRunning = time.Hour
	// keepOver is how long the blobs of a job outlive its cancel or seal here. The time starts anew with the
	// process: that needs nothing on disk and errs on the side of keeping.
	keepOver = time.Hour
)

// Sweep takes jobs out of memory that are past their time by more than ledger.Skew: they are shown, served and
// taken no more. Much later it deletes them. The clock may be wrong, and a journal is the only copy of what it
// says: nothing is deleted before keepEnded and keepRunning are over, and a job whose time comes back with the
// right clock is live again with all that was said of it. The records of jobs that were cancelled or sealed stay as
// those of any other.
//
// It returns the jobs that ended since the last call, in whichever way, and those whose blobs can go: the deleted
// ones and, once each, those that have been cancelled or sealed for keepOver.
func (s *Store) Sweep(now time.Time) (ended, free []jobs.JobID, err error) {
	s.mu.Lock()
	for id, j := range s.jobs {
		switch {
		case pastTime(j.Manifest, now):
			ended = append(ended, id)
			s.end(id, j.Manifest, now)
		case j.over() && !j.freed && now.Sub(j.ended) >= keepOver:
			j.freed = true
			ended, free = append(ended, id), append(free, id)
		}
	}
	var deleted []jobs.JobID
	back := false
	for id, e := range s.ended {
		switch {
		case !now.After(e.expires.Add(ledger.Skew)):
			delete(s.ended, id)
			back = true
		case now.After(e.expires.Add(keepEnded)) && now.Sub(e.since) >= keepRunning:
			delete(s.ended, id)
			deleted = append(deleted, id)
		}
	}
	var known []Record
	if back {
		known, err = s.load(now)
	}
	s.mu.Unlock()
	err = errors.Join(err, s.learn(known))
	for _, id := range deleted {
		err = errors.Join(err, s.forget(id))
	}
	return ended, append(free, deleted...), err
}

// end takes a job out of memory that is past its time; the caller holds the lock or is alone.
func (s *Store) end(id jobs.JobID, m *manifest.Manifest, now time.Time) {
	if _, known := s.ended[id]; !known {
		s.ended[id] = ended{m.Expires, now}
	}
	if s.jobs[id] != nil {
		delete(s.jobs, id)
		s.dropIndex(id)
	}
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
	for _, used := range []map[account]uint64{s.used, s.usedOfJob} {
		maps.DeleteFunc(used, func(a account, _ uint64) bool { return a.shard.Job == job })
	}
}

func expired(m *manifest.Manifest, now time.Time) bool { return now.After(m.Expires) }

// pastTime is expired on any clock that is right enough.
func pastTime(m *manifest.Manifest, now time.Time) bool { return expired(m, now.Add(-ledger.Skew)) }
