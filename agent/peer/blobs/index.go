package blobs

import (
	"bytes"
	"maps"
	"math"
	"slices"
	"sync"

	"idlegrid/jobs"
)

// index knows which blobs a store has and for which jobs, and counts bytes against the quota. A blob enters
// it only when it is durable, so whatever it says may be acknowledged.
type index struct {
	quota int64 // bytes; 0: none

	mu    sync.Mutex // guards everything below
	used  int64      // bytes of blobs, and of those on their way in
	blobs map[jobs.Digest]*entry
}

type entry struct {
	size int64
	jobs map[jobs.JobID]struct{}
}

func newIndex(quota int64) *index {
	return &index{quota: quota, blobs: make(map[jobs.Digest]*entry)}
}

// reserve sets bytes aside for a blob on its way in. They stay counted when it arrives; release gives them
// back when it does not.
func (x *index) reserve(size int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.quota > 0 && size > x.quota-x.used {
		err := jobs.Errorf(jobs.Exhausted, "a blob of %d bytes does not fit: %d of %d bytes are in use", size, x.used, x.quota)
		return jobs.WithHint(err, "Seal or cancel jobs that are done with, or give this peer a larger quota.")
	}
	x.used += size
	return nil
}

// Room returns how many bytes the quota leaves.
func (x *index) Room() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.quota == 0 {
		return math.MaxInt64
	}
	return max(0, x.quota-x.used)
}

func (x *index) release(size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.used -= size
}

// add notes a blob, and that the job needs it. It reports whether the blob is new; its bytes are counted by
// reserve.
func (x *index) add(job jobs.JobID, b jobs.Blob) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.blobs[b.Digest]
	if !ok {
		e = &entry{size: b.Size, jobs: make(map[jobs.JobID]struct{})}
		x.blobs[b.Digest] = e
	}
	e.jobs[job] = struct{}{}
	return !ok
}

// find says whether the blob is here and whether it is kept for the job. Equal digests with different sizes
// are a mistake of whoever names the blob.
func (x *index) find(job jobs.JobID, b jobs.Blob) (here, kept bool, err error) {
	if err := checkName(job, b); err != nil {
		return false, false, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	e, here := x.blobs[b.Digest]
	if !here {
		return false, false, nil
	}
	if e.size != b.Size {
		return false, false, jobs.Errorf(jobs.Corrupt, "blob %s has %d bytes, not %d", short(b.Digest), e.size, b.Size)
	}
	_, kept = e.jobs[job]
	return true, kept, nil
}

// size returns the blob's size, or NotFound.
func (x *index) size(d jobs.Digest) (int64, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.blobs[d]
	if !ok {
		return 0, notHere(d)
	}
	return e.size, nil
}

// Has reports whether the blob is here for any job.
func (x *index) Has(d jobs.Digest) bool {
	_, err := x.size(d)
	return err == nil
}

// Holds reports whether the blob is kept for the job.
func (x *index) Holds(job jobs.JobID, d jobs.Digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.blobs[d]
	if !ok {
		return false
	}
	_, kept := e.jobs[job]
	return kept
}

// List returns all blobs, sorted by digest.
func (x *index) List() []Kept {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]Kept, 0, len(x.blobs))
	for d, e := range x.blobs {
		list = append(list, Kept{Blob: jobs.Blob{Digest: d, Size: e.size}, Jobs: e.sorted()})
	}
	slices.SortFunc(list, func(a, b Kept) int { return a.Blob.Digest.Compare(b.Blob.Digest) })
	return list
}

// Usage is how much a store holds.
type Usage struct {
	Blobs int
	Bytes int64 // of blobs, and of those on their way in
	Quota int64 // 0: none
}

// Usage returns how much is here.
func (x *index) Usage() Usage {
	x.mu.Lock()
	defer x.mu.Unlock()
	return Usage{Blobs: len(x.blobs), Bytes: x.used, Quota: x.quota}
}

// jobsOf returns the jobs that need the blob; none if it is not here.
func (x *index) jobsOf(d jobs.Digest) []jobs.JobID {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.blobs[d]; ok {
		return e.sorted()
	}
	return nil
}

// blobsOf splits the job's blobs into those that no other job needs and those that one does.
func (x *index) blobsOf(job jobs.JobID) (only, shared []jobs.Digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for d, e := range x.blobs {
		if _, ok := e.jobs[job]; !ok {
			continue
		}
		if len(e.jobs) == 1 {
			only = append(only, d)
		} else {
			shared = append(shared, d)
		}
	}
	return only, shared
}

// drop notes that the job no longer needs a blob that another job does.
func (x *index) drop(job jobs.JobID, d jobs.Digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.blobs[d]; ok {
		delete(e.jobs, job)
	}
}

// remove notes that the blob is gone.
func (x *index) remove(d jobs.Digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.blobs[d]; ok {
		x.used -= e.size
		delete(x.blobs, d)
	}
}

func (e *entry) sorted() []jobs.JobID {
	return slices.SortedFunc(maps.Keys(e.jobs), func(a, b jobs.JobID) int { return bytes.Compare(a[:], b[:]) })
}
