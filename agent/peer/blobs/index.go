package blobs

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"idlegrid/jobs"
)

// index knows which blobs a store has and why, and counts bytes against the quota. A blob enters
// it only when it is durable, so whatever it says may be acknowledged.
type index struct {
	quota atomic.Int64 // bytes; 0: none

	mu    sync.Mutex // guards everything below
	used  int64      // bytes of blobs, and of those on their way in
	blobs map[jobs.Digest]*entry

	coming taken // others' checkpoints on their way in; no zero counts
}

type entry struct {
	size     int64
	claims   []Held // few
	used     time.Time
	verified time.Time
}

// Held is a claim and since when it is here; of those that are no checkpoints, or since the start.
type Held struct {
	Claim
	Since time.Time
}

func newIndex(quota int64) *index {
	x := &index{blobs: make(map[jobs.Digest]*entry), coming: taken{}}
	x.quota.Store(quota)
	return x
}

// SetQuota sets how many bytes the blobs may take together; 0: as many as there are. What is here already stays: it is
// for others to let go of what is too much.
func (x *index) SetQuota(bytes int64) { x.quota.Store(bytes) }

// reserve sets bytes aside for a blob on its way in. They stay counted when it arrives; release gives them
// back when it does not.
func (x *index) reserve(size int64) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if quota := x.quota.Load(); quota > 0 && size > quota-x.used {
		err := jobs.Errorf(jobs.Exhausted, "a blob of %d bytes does not fit: %d of %d bytes are in use", size, x.used, quota)
		return jobs.WithHint(err, "Seal or cancel jobs that are done with, or give this peer a larger quota.")
	}
	x.used += size
	return nil
}

// Room returns how many bytes the quota leaves.
func (x *index) Room() int64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	quota := x.quota.Load()
	if quota == 0 {
		return math.MaxInt64
	}
	return max(0, quota-x.used)
}

func (x *index) release(size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.used -= size
}

// add notes a blob, and why it is kept since when. It reports whether the blob is new; its bytes are counted by
// reserve.
func (x *index) add(c Claim, b jobs.Blob, since time.Time) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.blobs[b.Digest]
	if !ok {
		e = &entry{size: b.Size, used: since, verified: since}
		x.blobs[b.Digest] = e
	}
	if i := e.find(c); i < 0 {
		e.claims = append(e.claims, Held{c, since})
	}
	return !ok
}

// found is what find says of a blob.
type found struct {
	here    bool
	job     bool // it is kept for the claim's job
	claimed bool // and no less than the claim asks
}

// find looks for a blob. Equal digests with different sizes are a mistake of whoever names the blob.
func (x *index) find(c Claim, b jobs.Blob) (found, error) {
	if err := checkName(c.Job, b); err != nil {
		return found{}, err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	e, here := x.blobs[b.Digest]
	if !here {
		return found{}, nil
	}
	if e.size != b.Size {
		return found{}, jobs.Errorf(jobs.Corrupt, "blob %s has %d bytes, not %d", short(b.Digest), e.size, b.Size)
	}
	e.used = time.Now()
	f := found{here: true, job: e.isFor(c.Job)}
	for _, h := range e.claims {
		f.claimed = f.claimed || h.covers(c)
	}
	return f, nil
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

// use returns the blob's size for whoever wants its bytes, or NotFound.
func (x *index) use(d jobs.Digest) (int64, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.blobs[d]
	if !ok {
		return 0, notHere(d)
	}
	e.used = time.Now()
	return e.size, nil
}

// saw notes when a blob's bytes were found to be right.
func (x *index) saw(d jobs.Digest, at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.blobs[d]; ok {
		e.verified = at
	}
}

// Has reports whether the blob is here for any job.
func (x *index) Has(d jobs.Digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	_, ok := x.blobs[d]
	return ok
}

// Holds reports whether the blob is kept for the job.
func (x *index) Holds(job jobs.JobID, d jobs.Digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.blobs[d]
	if !ok {
		return false
	}
	return e.isFor(job)
}

// List returns all blobs, sorted by digest.
func (x *index) List() []Kept {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]Kept, 0, len(x.blobs))
	for d, e := range x.blobs {
		list = append(list, Kept{Blob: jobs.Blob{Digest: d, Size: e.size}, Claims: e.sorted()})
	}
	slices.SortFunc(list, func(a, b Kept) int { return a.Blob.Digest.Compare(b.Blob.Digest) })
	return list
}

// Entry is all that a store knows of a blob.
type Entry struct {
	Blob     jobs.Blob
	Claims   []Held
	Used     time.Time // when somebody asked for it here last, as far as known
	Verified time.Time // when its bytes were right last
}

// Entries returns all blobs, in no order.
func (x *index) Entries() []Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]Entry, 0, len(x.blobs))
	for d, e := range x.blobs {
		list = append(list, Entry{jobs.Blob{Digest: d, Size: e.size}, slices.Clone(e.claims), e.used, e.verified})
	}
	return list
}

// Entry returns what is known of one blob.
func (x *index) Entry(d jobs.Digest) (Entry, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.blobs[d]
	if !ok {
		return Entry{}, false
	}
	return Entry{jobs.Blob{Digest: d, Size: e.size}, slices.Clone(e.claims), e.used, e.verified}, true
}

// Unverified returns the blobs whose bytes nobody has looked at since, those first that wait longest.
func (x *index) Unverified(since time.Time) []jobs.Blob {
	x.mu.Lock()
	defer x.mu.Unlock()
	var list []jobs.Blob
	for d, e := range x.blobs {
		if e.verified.Before(since) {
			list = append(list, jobs.Blob{Digest: d, Size: e.size})
		}
	}
	slices.SortFunc(list, func(a, b jobs.Blob) int { return x.blobs[a.Digest].verified.Compare(x.blobs[b.Digest].verified) })
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
	return Usage{Blobs: len(x.blobs), Bytes: x.used, Quota: x.quota.Load()}
}

// claimsOf returns why the blob is kept; nothing if it is not here.
func (x *index) claimsOf(d jobs.Digest) []Claim {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.blobs[d]; ok {
		return e.sorted()
	}
	return nil
}

// matching returns the claims that match, by blob.
func (x *index) matching(match func(jobs.Digest, Claim) bool) map[jobs.Digest][]Claim {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := map[jobs.Digest][]Claim{}
	for d, e := range x.blobs {
		for _, h := range e.claims {
			if match(d, h.Claim) {
				out[d] = append(out[d], h.Claim)
			}
		}
	}
	return out
}

// isLast reports whether the blob is kept for this claim alone.
func (x *index) isLast(c Claim, d jobs.Digest) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok := x.blobs[d]
	return ok && len(e.claims) == 1 && e.claims[0].Claim == c
}

// drop notes that a claim is no more on a blob that has others.
func (x *index) drop(c Claim, d jobs.Digest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if e, ok := x.blobs[d]; ok {
		e.claims = slices.DeleteFunc(e.claims, func(h Held) bool { return h.Claim == c })
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

// find returns the claim's place, or -1.
func (e *entry) find(c Claim) int {
	return slices.IndexFunc(e.claims, func(h Held) bool { return h.Claim == c })
}

func (e *entry) isFor(job jobs.JobID) bool {
	return slices.ContainsFunc(e.claims, func(h Held) bool { return h.Job == job })
}

func (e *entry) sorted() []Claim {
	list := make([]Claim, 0, len(e.claims))
	for _, h := range e.claims {
		list = append(list, h.Claim)
	}
	slices.SortFunc(list, Claim.compare)
	return list
}
