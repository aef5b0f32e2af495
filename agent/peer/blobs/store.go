package blobs

import (
	"crypto/sha256"
	"io"
	"math"
	"slices"

	"idlegrid/jobs"
)

// Store keeps blobs. Dir and Memory are the two there are; package blobstest holds their law. All methods
// may be called at the same time.
type Store interface {
	// Put reads b's bytes from r and keeps them as the claim says; when it returns nil they are durable. Bytes
	// that are not b's are an error of kind Corrupt, a full store one of kind Exhausted, and nothing is
	// kept then. An error of r is returned wrapped. r is not read where b is kept for the job already, and
	// is read where it is kept for other jobs only: whoever names a digest must show that it has the bytes.
	Put(c Claim, b jobs.Blob, r io.Reader) error
	// Keep notes one more claim on a blob that is here: NotFound if it is not.
	Keep(c Claim, b jobs.Blob) error
	// Has reports whether the blob is here for any job.
	Has(d jobs.Digest) bool
	// Holds reports whether the blob is kept for the job.
	Holds(job jobs.JobID, d jobs.Digest) bool
	// Open returns the blob's bytes and their number, or NotFound. They are not verified again.
	Open(d jobs.Digest) (io.ReadCloser, int64, error)
	// Verify reads the blob again: a blob whose bytes have changed is deleted, and the error is of kind
	// Corrupt. NotFound if it is not here.
	Verify(d jobs.Digest) error
	// Delete removes the blob whoever needs it; a blob that is not here is no error.
	Delete(d jobs.Digest) error
	// Drop removes the claims that match, and every blob that has no others. It may be called again after an
	// error. It must not be called while something holds a lock that match takes.
	Drop(match func(jobs.Digest, Claim) bool) error
	// List returns all blobs, sorted by digest.
	List() []Kept
}

// Forget removes a job and every blob that no other job needs.
func Forget(s Store, job jobs.JobID) error {
	return s.Drop(func(_ jobs.Digest, c Claim) bool { return c.Job == job })
}

// supersede removes the checkpoint blobs that an author put for a unit, but those that it keeps.
func supersede(s Store, of Claim, keep []jobs.Digest) error {
	return s.Drop(func(d jobs.Digest, c Claim) bool { return c == of && !slices.Contains(keep, d) })
}

// Kept is a blob of a store and why it is kept, sorted; there is at least one claim.
type Kept struct {
	Blob   jobs.Blob
	Claims []Claim
}

// Jobs returns the jobs that need the blob, sorted.
func (k Kept) Jobs() []jobs.JobID {
	var out []jobs.JobID
	for _, c := range k.Claims {
		if len(out) == 0 || out[len(out)-1] != c.Job {
			out = append(out, c.Job)
		}
	}
	return out
}

// maxBuffer bounds the memory one copy takes, whatever the size of the blob.
const maxBuffer = 128 << 10

// copyVerified copies r to w and fails, with kind Corrupt, unless r gave exactly b's bytes. At most one byte
// more than b.Size is read.
func copyVerified(w io.Writer, b jobs.Blob, r io.Reader) error {
	h := sha256.New()
	buf := make([]byte, min(b.Size+1, maxBuffer))
	n, err := io.CopyBuffer(io.MultiWriter(w, h), io.LimitReader(r, b.Size+1), buf)
	switch {
	case err != nil:
		return err
	case n < b.Size:
		return jobs.Errorf(jobs.Corrupt, "blob %s ends after %d of %d bytes", short(b.Digest), n, b.Size)
	case n > b.Size:
		return jobs.Errorf(jobs.Corrupt, "blob %s is longer than its %d bytes", short(b.Digest), b.Size)
	case jobs.Digest(h.Sum(nil)) != b.Digest:
		return jobs.Errorf(jobs.Corrupt, "the bytes of blob %s have another digest", short(b.Digest))
	}
	return nil
}

// checkName refuses what cannot be the name of any bytes.
func checkName(job jobs.JobID, b jobs.Blob) error {
	if job.IsZero() || b.Digest.IsZero() {
		return jobs.Errorf(jobs.Invalid, "a blob needs a job and a digest")
	}
	if b.Size < 0 || b.Size == math.MaxInt64 {
		return jobs.Errorf(jobs.Invalid, "blob %s: impossible size %d", short(b.Digest), b.Size)
	}
	return nil
}

func notHere(d jobs.Digest) error {
	return jobs.Errorf(jobs.NotFound, "blob %s is not here", short(d))
}

// short is what messages show of a digest.
func short(d jobs.Digest) string { return d.String()[:12] }
