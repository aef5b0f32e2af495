package owner

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// historyFile is the history's file in the state folder, and damagedFile one that could not be read.
	historyFile = "history.db"
	damagedFile = historyFile + ".damaged"

	// maxJobs bounds the jobs that are kept, and keepFor how long: whichever is reached first, the oldest go.
	maxJobs = 10_000
	keepFor = 2 * 365 * 24 * time.Hour
	// maxVisitors bounds who is remembered to have looked, in the same way.
	maxVisitors = 256

	// writeEvery is how long what happened may wait for the disk, unless a job ends.
	writeEvery = time.Hour
	// maxWaiting is how many jobs wait at most before they are written.
	maxWaiting = 256

	maxListed     = 1000
	defaultListed = 100
)

// Files are the names of the files in the state folder that have what ran here.
func Files() []string { return []string{historyFile, damagedFile} }

// The buckets of the history's file.
var (
	bucketJobs     = []byte("jobs")     // job ID → grid.v1.OwnerJob
	bucketVisitors = []byte("visitors") // who → grid.v1.OwnerVisitor
)

// Ran is what happened on this PC for a job since it was told last. The numbers are added to what is known already,
// Memory aside.
type Ran struct {
	Job      jobs.JobID
	Manifest *manifest.Manifest
	Owner    string // of the submitter, as its certificate has it; empty: it has none

	Units, Failed int // that ended; failed ones are among Units
	CPU           time.Duration
	Memory        int64 // bytes, the most that one unit had; 0: not known
	In, Out       int64 // bytes that came for the job, and that went
}

// History is what ever ran on this PC, and who looked at it. Its methods may be called from any goroutine.
type History struct {
	log *slog.Logger
	db  *bbolt.DB

	writing sync.Mutex // held while the file is written or read, so that what waits is seen there or here

	mu       sync.Mutex // guards everything below
	jobs     map[jobs.JobID]*gridv1.OwnerJob
	visitors map[string]*gridv1.OwnerVisitor
	timer    *time.Timer // of the next write; nil: nothing waits
	closed   bool
}

// OpenHistory opens the history in a state folder. One that is damaged is put aside, and a new one begins.
func OpenHistory(state string, log *slog.Logger) (*History, error) {
	path, aside := filepath.Join(state, historyFile), filepath.Join(state, damagedFile)
	db, err := openDB(path)
	if errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) || errors.Is(err, bolterrors.ErrVersionMismatch) {
		log.Warn("the history is damaged, a new one begins", "err", err, "kept_as", aside)
		if err := os.Rename(path, aside); err != nil {
			return nil, fmt.Errorf("put the damaged history aside: %w", err)
		}
		db, err = openDB(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open the history %s: %w", path, err)
	}
	return &History{log: log, db: db, jobs: map[jobs.JobID]*gridv1.OwnerJob{}, visitors: map[string]*gridv1.OwnerVisitor{}}, nil
}

func openDB(path string) (*bbolt.DB, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: time.Second, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	fresh := false
	err = db.View(func(tx *bbolt.Tx) error {
		fresh = tx.Bucket(bucketJobs) == nil || tx.Bucket(bucketVisitors) == nil
		return nil
	})
	if err == nil && fresh {
		err = db.Update(func(tx *bbolt.Tx) error {
			_, jobs := tx.CreateBucketIfNotExists(bucketJobs)
			_, visitors := tx.CreateBucketIfNotExists(bucketVisitors)
			return errors.Join(jobs, visitors)
		})
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// Ran adds what happened. It does not wait for the disk.
func (h *History) Ran(r Ran) {
	now := ms(time.Now())
	m := r.Manifest
	h.mu.Lock()
	defer h.mu.Unlock()
	had := h.jobs[r.Job]
	if had == nil && len(h.jobs) >= maxJobs || h.closed {
		return // the disk takes nothing, and the log says so
	}
	h.jobs[r.Job] = addJobs(had, &gridv1.OwnerJob{
		Job: r.Job[:], Name: m.Name, Submitter: m.Submitter[:], Owner: r.Owner, Program: m.Program.Digest[:],
		FirstMs: now, LastMs: now, Units: uint64(r.Units), Failed: uint64(r.Failed), CpuUs: uint64(r.CPU.Microseconds()),
		MemoryBytes: uint64(r.Memory), InBytes: uint64(r.In), OutBytes: uint64(r.Out),
	})
	if len(h.jobs) >= maxWaiting {
		h.writeIn(0)
	} else {
		h.writeIn(writeEvery)
	}
}

// Ended says that a job has, so that what it did is written now. It does not wait for that.
func (h *History) Ended(job jobs.JobID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.jobs[job] != nil && !h.closed {
		h.writeIn(0)
	}
}

// Looked notes that somebody asked something of this agent.
func (h *History) Looked(who, what string) {
	who, what = cut(who), cut(what)
	now := ms(time.Now())
	h.mu.Lock()
	defer h.mu.Unlock()
	had := h.visitors[who]
	if had == nil && len(h.visitors) >= maxVisitors || h.closed {
		return
	}
	h.visitors[who] = addVisits(had, &gridv1.OwnerVisitor{Who: who, What: what, FirstMs: now, LastMs: now, Calls: 1})
	h.writeIn(writeEvery)
}

// writeIn has what waits written after a time at the latest. The caller holds mu.
func (h *History) writeIn(wait time.Duration) {
	switch {
	case h.timer == nil:
		h.timer = time.AfterFunc(wait, func() {
			if err := h.write(); err != nil {
				h.log.Warn("cannot write the history", "err", err, "again_in", writeEvery)
			}
		})
	case wait == 0:
		h.timer.Reset(0)
	}
}

// write writes what waits. What could not be written waits on.
func (h *History) write() error {
	h.writing.Lock()
	defer h.writing.Unlock()
	h.mu.Lock()
	ran, visits := h.jobs, h.visitors
	h.jobs, h.visitors, h.timer = map[jobs.JobID]*gridv1.OwnerJob{}, map[string]*gridv1.OwnerVisitor{}, nil
	h.mu.Unlock()
	if len(ran) == 0 && len(visits) == 0 {
		return nil
	}
	err := h.db.Update(func(tx *bbolt.Tx) error {
		for id, j := range ran {
			if err := addTo(tx.Bucket(bucketJobs), id[:], j, addJobs); err != nil {
				return err
			}
		}
		for who, v := range visits {
			if err := addTo(tx.Bucket(bucketVisitors), []byte(who), v, addVisits); err != nil {
				return err
			}
		}
		oldest := ms(time.Now().Add(-keepFor))
		return errors.Join(
			trim[gridv1.OwnerJob](tx.Bucket(bucketJobs), maxJobs, oldest),
			trim[gridv1.OwnerVisitor](tx.Bucket(bucketVisitors), maxVisitors, oldest),
		)
	})
	if err == nil {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, j := range ran {
		h.jobs[id] = addJobs(j, h.jobs[id])
	}
	for who, v := range visits {
		h.visitors[who] = addVisits(v, h.visitors[who])
	}
	if !h.closed {
		h.writeIn(writeEvery)
	}
	return err
}

// Close writes what waits and closes the file. Twice is harmless.
func (h *History) Close() error {
	h.mu.Lock()
	was := h.closed
	h.closed = true
	if h.timer != nil {
		h.timer.Stop()
	}
	h.mu.Unlock()
	if was {
		return nil
	}
	return errors.Join(h.write(), h.db.Close())
}

// list returns rows, the newest first.
func (h *History) list(limit, skip int) (*gridv1.HistoryReply, error) {
	if limit <= 0 {
		limit = defaultListed
	}
	limit, skip = min(limit, maxListed), max(skip, 0)
	h.writing.Lock()
	defer h.writing.Unlock()
	var list []*gridv1.OwnerJob
	var visitors []*gridv1.OwnerVisitor
	err := h.db.View(func(tx *bbolt.Tx) error {
		list = rowsOf[gridv1.OwnerJob](tx.Bucket(bucketJobs))
		visitors = rowsOf[gridv1.OwnerVisitor](tx.Bucket(bucketVisitors))
		return nil
	})
	if err != nil {
		return nil, jobs.Errorf(jobs.Unavailable, "read the history: %w", err)
	}
	h.mu.Lock()
	list = withWaiting(list, h.jobs, func(j *gridv1.OwnerJob) jobs.JobID { return jobs.JobID(j.GetJob()) }, addJobs)
	visitors = withWaiting(visitors, h.visitors, (*gridv1.OwnerVisitor).GetWho, addVisits)
	h.mu.Unlock()
	newestFirst(list)
	newestFirst(visitors)
	r := &gridv1.HistoryReply{Total: uint32(len(list)), Visitors: visitors[:min(len(visitors), maxVisitors)]}
	list = list[min(skip, len(list)):]
	r.Jobs = list[:min(limit, len(list))]
	return r, nil
}
