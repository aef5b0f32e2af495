package blobs_test

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"testing"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/jobs"
)

// TestP11CheckpointShares: no author and no submitter fills a store with checkpoints, by few large ones, by many small
// ones, by many at once or by claims of bytes that are here. This peer's own, and other blobs, are not in the way.
func TestP11CheckpointShares(t *testing.T) {
	const mib = 1 << 20
	self, payer := jobs.AgentID{1}, jobs.KeyID{9}
	open := func() *blobs.Dir {
		s := openDir(t, newFolder(t), 16*mib)
		s.Shares = blobs.Shares{Self: self, Submitter: func(j jobs.JobID) (jobs.KeyID, bool) {
			if j == blobstest.Job(3) {
				return jobs.KeyID{8}, true
			}
			return payer, true
		}}
		return s
	}
	put := func(s *blobs.Dir, author byte, job int, unit uint64, bytesEach int) error {
		data := bytes.Repeat(fmt.Appendf(nil, "%16d", unit), bytesEach/16)
		c := blobs.Claim{Job: blobstest.Job(job), Kind: blobs.Checkpoint, Author: jobs.AgentID{author}, Unit: unit}
		return s.Put(c, blobstest.BlobOf(data), bytes.NewReader(data))
	}
	fill := func(s *blobs.Dir, author byte, job, bytesEach int, want int) {
		t.Helper()
		for n := range uint64(1000) {
			err := put(s, author, job, uint64(author)<<32+n, bytesEach)
			if err == nil {
				continue
			}
			if jobs.KindOf(err) != jobs.Exhausted || int(n) != want {
				t.Errorf("agent %d is refused after %d, expected after %d: %v", author, n, want, err)
			}
			return
		}
		t.Errorf("agent %d is never refused", author)
	}

	s := open()
	fill(s, 2, 1, mib, 4)
	fill(s, 3, 2, mib, 4)
	fill(s, 4, 1, mib, 0) // half of it is the submitter's, by whom and for which job ever
	if err := put(s, 4, 1, 5, mib); err == nil || !strings.Contains(err.Error(), payer.Short()) {
		t.Errorf("the refusal does not say whose share is used up: %v", err)
	}
	fill(s, 4, 3, mib, 4)
	if err := put(s, 1, 1, 6, mib); err != nil {
		t.Errorf("this peer's own is refused: %v", err)
	}
	blobstest.Put(t, s, blobstest.Job(1), make([]byte, mib))
	if err := s.Drop(func(_ jobs.Digest, c blobs.Claim) bool { return c.Author == jobs.AgentID{2} }); err != nil {
		t.Fatal(err)
	}
	fill(s, 2, 1, mib, 4) // what went makes room

	fill(open(), 2, 1, 16, 64) // small ones are counted as 64 KiB

	s = open()
	b := blobstest.BlobOf(bytes.Repeat([]byte("x"), mib))
	claim := blobs.Claim{Job: blobstest.Job(1), Kind: blobs.Checkpoint, Author: jobs.AgentID{2}}
	if err := s.Put(claim, b, bytes.NewReader(bytes.Repeat([]byte("x"), mib))); err != nil {
		t.Fatal(err)
	}
	for claim.Unit = 1; claim.Unit < 4; claim.Unit++ {
		if err := s.Keep(claim, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Keep(claim, b); jobs.KindOf(err) != jobs.Exhausted {
		t.Errorf("the fifth claim of a blob: %v", err)
	}

	s = open()
	var work sync.WaitGroup
	for n := range 32 {
		work.Go(func() { _ = put(s, 2, 1, uint64(n), mib) }) // most are refused: what came is looked at
	}
	work.Wait()
	if got := s.Usage().Bytes; got > 4*mib {
		t.Errorf("many at once have %d bytes", got)
	}
	if err := s.Drop(func(jobs.Digest, blobs.Claim) bool { return true }); err != nil {
		t.Fatal(err)
	}
	fill(s, 2, 1, mib, 4) // nothing counts as on its way any more
}
