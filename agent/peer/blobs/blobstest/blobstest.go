// Package blobstest holds the law of blobs.Store as tests that every implementation runs.
package blobstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"idlegrid/agent/peer/blobs"
	"idlegrid/jobs"
)

// Harness makes stores of one implementation.
type Harness struct {
	// New returns an empty store with a quota in bytes, 0 for none.
	New func(t *testing.T, quota int64) blobs.Store
	// Reopen abandons the store as a crash would and opens it again, without a quota. Nil: nothing survives.
	Reopen func(t *testing.T, s blobs.Store) blobs.Store
	// Flip changes one bit of a blob behind the store's back.
	Flip func(t *testing.T, s blobs.Store, d jobs.Digest)
}

// Job returns the n-th of some distinct job IDs.
func Job(n int) jobs.JobID { return jobs.JobID(jobs.DigestOf(fmt.Append(nil, "job", n))) }

// BlobOf returns the name of data.
func BlobOf(data []byte) jobs.Blob {
	return jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
}

// Put stores data and fails the test if that fails.
func Put(t testing.TB, s blobs.Store, job jobs.JobID, data []byte) jobs.Blob {
	t.Helper()
	b := BlobOf(data)
	if err := s.Put(blobs.For(job), b, bytes.NewReader(data)); err != nil {
		t.Fatalf("Put of %d bytes: %v", len(data), err)
	}
	return b
}

// Run runs the law.
func Run(t *testing.T, h Harness) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"stores and gives back", testRoundTrip},
		{"refuses wrong bytes", testWrongBytes},
		{"refuses impossible names", testNames},
		{"passes on errors of the source", testSourceError},
		{"reads no more than needed", testReadsNoMore},
		{"keeps for each job", testJobs},
		{"wants the bytes for another job", testOtherJob},
		{"keeps for each reason", testClaims},
		{"deletes", testDelete},
		{"forgets a job", testForget},
		{"holds its quota", testQuota},
		{"finds a flipped bit", testFlip},
		{"takes one blob from many", testConcurrent},
		{"stays whole in a stampede", testStampede},
		{"survives a crash", testReopen},
		{"does what its model does", testModel},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

func testRoundTrip(t *testing.T, h Harness) {
	s := h.New(t, 0)
	for _, size := range []int{0, 1, 100, 1<<17 - 1, 1 << 17, 1<<17 + 1, 1 << 20} {
		data := bytes.Repeat([]byte{byte(size), 'x', 0}, size/3+1)[:size]
		b := Put(t, s, Job(1), data)
		expectBlob(t, s, b, data)
		if !s.Holds(Job(1), b.Digest) || s.Holds(Job(2), b.Digest) {
			t.Errorf("%d bytes: kept for the wrong job", size)
		}
		if err := s.Verify(b.Digest); err != nil {
			t.Errorf("%d bytes: Verify: %v", size, err)
		}
	}
}

func testWrongBytes(t *testing.T, h Harness) {
	good := []byte("some bytes of a blob")
	for _, test := range []struct {
		name string
		blob jobs.Blob
		data string
	}{
		{"other bytes", BlobOf(good), "some bytes of a blub"},
		{"too few", BlobOf(good), "some bytes"},
		{"none", BlobOf(good), ""},
		{"one more", BlobOf(good), "some bytes of a blob!"},
		{"many more", BlobOf(good), strings.Repeat("some bytes of a blob", 10_000)},
		{"more than an empty blob", BlobOf(nil), "x"},
		{"size too small", jobs.Blob{Digest: BlobOf(good).Digest, Size: 19}, string(good)},
		{"size too large", jobs.Blob{Digest: BlobOf(good).Digest, Size: 21}, string(good)},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := h.New(t, int64(len(good))+1)
			err := s.Put(blobs.For(Job(1)), test.blob, strings.NewReader(test.data))
			expectKind(t, err, jobs.Corrupt)
			expectNothing(t, s, test.blob.Digest)
			Put(t, s, Job(1), bytes.Repeat([]byte("q"), len(good)+1)) // the quota is free again
		})
	}
	s := h.New(t, 0)
	b := Put(t, s, Job(1), good)
	b.Size++
	expectKind(t, s.Put(blobs.For(Job(2)), b, bytes.NewReader(good)), jobs.Corrupt)
	expectKind(t, s.Keep(blobs.For(Job(2)), b), jobs.Corrupt)
}

func testNames(t *testing.T, h Harness) {
	s := h.New(t, 0)
	b := BlobOf([]byte("x"))
	for _, test := range []struct {
		job  jobs.JobID
		blob jobs.Blob
	}{
		{jobs.JobID{}, b},
		{Job(1), jobs.Blob{}},
		{Job(1), jobs.Blob{Digest: b.Digest, Size: -1}},
		{Job(1), jobs.Blob{Digest: b.Digest, Size: 1<<63 - 1}},
	} {
		expectKind(t, s.Put(blobs.For(test.job), test.blob, strings.NewReader("x")), jobs.Invalid)
		expectKind(t, s.Keep(blobs.For(test.job), test.blob), jobs.Invalid)
	}
	expectNothing(t, s, b.Digest)
}

func testSourceError(t *testing.T, h Harness) {
	s := h.New(t, 8)
	b := BlobOf([]byte("12345678"))
	broken := jobs.Errorf(jobs.Unavailable, "the line broke")
	err := s.Put(blobs.For(Job(1)), b, io.MultiReader(strings.NewReader("1234"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || jobs.KindOf(err) != jobs.Unavailable {
		t.Errorf("Put returned %v, expected the source's error", err)
	}
	expectNothing(t, s, b.Digest)
	Put(t, s, Job(1), []byte("12345678"))
}

func testReadsNoMore(t *testing.T, h Harness) {
	s := h.New(t, 0)
	data := []byte("read once")
	b := Put(t, s, Job(1), data)
	if err := s.Put(blobs.For(Job(1)), b, iotest.ErrReader(errors.New("read"))); err != nil {
		t.Errorf("Put of a blob that is kept for the job: %v", err)
	}
	endless := &counter{}
	expectKind(t, s.Put(blobs.For(Job(1)), jobs.Blob{Digest: NoDigest(), Size: 10}, endless), jobs.Corrupt)
	if endless.n > 11 {
		t.Errorf("read %d bytes for a blob of 10", endless.n)
	}
}

// NoDigest returns a digest that no data of the tests has.
func NoDigest() jobs.Digest { return jobs.Digest(Job(2)) }

type counter struct{ n int }

func (c *counter) Read(p []byte) (int, error) {
	c.n += len(p)
	return len(p), nil
}

func testJobs(t *testing.T, h Harness) {
	s := h.New(t, 0)
	b := BlobOf([]byte("shared"))
	expectKind(t, s.Keep(blobs.For(Job(1)), b), jobs.NotFound)
	Put(t, s, Job(1), []byte("shared"))
	for range 2 {
		if err := s.Keep(blobs.For(Job(2)), b); err != nil {
			t.Fatalf("Keep: %v", err)
		}
	}
	if !s.Holds(Job(1), b.Digest) || !s.Holds(Job(2), b.Digest) || s.Holds(Job(3), b.Digest) {
		t.Error("kept for the wrong jobs")
	}
	expectList(t, s, blobs.Kept{Blob: b, Claims: sorted(Job(1), Job(2))})
}

func testOtherJob(t *testing.T, h Harness) {
	s := h.New(t, 0)
	data := []byte("a secret of job 1")
	b := Put(t, s, Job(1), data)
	expectKind(t, s.Put(blobs.For(Job(2)), b, strings.NewReader("")), jobs.Corrupt)
	if s.Holds(Job(2), b.Digest) {
		t.Error("a job got a blob by its name alone")
	}
	Put(t, s, Job(2), data)
	if !s.Holds(Job(2), b.Digest) {
		t.Error("Put did not keep the blob for the second job")
	}
	expectBlob(t, s, b, data)
}

func testClaims(t *testing.T, h Harness) {
	s := h.New(t, 0)
	data := []byte("many need it")
	b := BlobOf(data)
	part := blobs.Claim{Job: Job(1), Kind: blobs.Checkpoint, Author: jobs.AgentID{1}, Unit: 7}
	sibling := part
	sibling.Unit = 8
	stranger := part
	stranger.Author = jobs.AgentID{2}
	claims := []blobs.Claim{part, sibling, stranger}
	for i, kind := range []blobs.Kind{blobs.Input, blobs.Pack, blobs.Own, blobs.Cached} {
		claims = append(claims, blobs.Claim{Job: Job(2 + i), Kind: kind})
	}
	for i, c := range claims {
		if err := s.Put(c, b, bytes.NewReader(data)); err != nil {
			t.Fatalf("claim %d: %v", i, err)
		}
	}
	// These say nothing that the job has not said.
	for _, c := range []blobs.Claim{{Job: Job(1), Kind: blobs.Cached}, {Job: Job(4), Kind: blobs.Pack}} {
		if err := s.Put(c, b, iotest.ErrReader(errors.New("read"))); err != nil {
			t.Errorf("%v: %v", c, err)
		}
	}
	list := slices.Clone(claims)
	for len(claims) > 0 {
		if h.Reopen != nil {
			s = h.Reopen(t, s)
		}
		got := s.List()
		if len(got) != 1 || !sameClaims(got[0].Claims, claims) {
			t.Fatalf("kept for %v, expected %v", got, claims)
		}
		gone := claims[0]
		claims = claims[1:]
		if err := s.Drop(func(_ jobs.Digest, c blobs.Claim) bool { return c == gone }); err != nil {
			t.Fatal(err)
		}
	}
	expectNothing(t, s, b.Digest)
	for _, c := range list {
		if err := s.Put(c, b, bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Drop(func(jobs.Digest, blobs.Claim) bool { return true }); err != nil {
		t.Fatal(err)
	}
	expectNothing(t, s, b.Digest)
}

// sameClaims compares sets.
func sameClaims(a, b []blobs.Claim) bool {
	for _, c := range a {
		if !slices.Contains(b, c) {
			return false
		}
	}
	return len(a) == len(b)
}

func testDelete(t *testing.T, h Harness) {
	s := h.New(t, 6)
	b := Put(t, s, Job(1), []byte("delete"))
	if err := s.Keep(blobs.For(Job(2)), b); err != nil {
		t.Fatal(err)
	}
	r, _, err := s.Open(b.Digest)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Delete(b.Digest); err != nil {
			t.Errorf("Delete: %v", err)
		}
	}
	expectNothing(t, s, b.Digest)
	if got, err := io.ReadAll(r); err != nil || string(got) != "delete" {
		t.Errorf("a reader that was open got %q, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	Put(t, s, Job(3), []byte("delete"))
	expectList(t, s, blobs.Kept{Blob: b, Claims: sorted(Job(3))})
}

func testForget(t *testing.T, h Harness) {
	s := h.New(t, 13)
	only := Put(t, s, Job(1), []byte("only 1"))
	both := Put(t, s, Job(1), []byte("1 and 2"))
	if err := s.Keep(blobs.For(Job(2)), both); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := blobs.Forget(s, Job(1)); err != nil {
			t.Fatalf("Forget: %v", err)
		}
	}
	expectNothing(t, s, only.Digest)
	expectList(t, s, blobs.Kept{Blob: both, Claims: sorted(Job(2))})
	if err := blobs.Forget(s, Job(2)); err != nil {
		t.Fatal(err)
	}
	expectList(t, s)
	Put(t, s, Job(1), []byte("thirteen byte"))
}

func testQuota(t *testing.T, h Harness) {
	s := h.New(t, 10)
	Put(t, s, Job(1), []byte("12345"))
	err := s.Put(blobs.For(Job(1)), BlobOf([]byte("abcdef")), iotest.ErrReader(errors.New("read")))
	expectKind(t, err, jobs.Exhausted)
	if jobs.HintOf(err) == "" {
		t.Error("no hint")
	}
	expectKind(t, s.Put(blobs.For(Job(1)), jobs.Blob{Digest: NoDigest(), Size: 1<<63 - 2}, strings.NewReader("")), jobs.Exhausted)
	b := Put(t, s, Job(1), []byte("67890"))
	Put(t, s, Job(1), nil)
	if err := s.Keep(blobs.For(Job(2)), b); err != nil {
		t.Errorf("Keep in a full store: %v", err)
	}
	expectKind(t, s.Put(blobs.For(Job(1)), BlobOf([]byte("x")), strings.NewReader("x")), jobs.Exhausted)
	if err := s.Delete(b.Digest); err != nil {
		t.Fatal(err)
	}
	Put(t, s, Job(1), []byte("54321"))
	changes, ok := s.(interface{ SetQuota(bytes int64) })
	if !ok {
		t.Fatal("its quota cannot change")
	}
	changes.SetQuota(9)
	expectKind(t, s.Put(blobs.For(Job(1)), BlobOf([]byte("x")), strings.NewReader("x")), jobs.Exhausted)
	if n := len(s.List()); n != 3 {
		t.Errorf("with a smaller quota %d blobs are there, expected all 3", n)
	}
	changes.SetQuota(11)
	Put(t, s, Job(1), []byte("x"))
	expectKind(t, s.Put(blobs.For(Job(1)), BlobOf([]byte("y")), strings.NewReader("y")), jobs.Exhausted)
	changes.SetQuota(0)
	Put(t, s, Job(1), []byte("as many as there are"))
}

func testFlip(t *testing.T, h Harness) {
	s := h.New(t, 0)
	data := []byte("bytes that rot")
	b := Put(t, s, Job(1), data)
	expectKind(t, s.Verify(NoDigest()), jobs.NotFound)
	h.Flip(t, s, b.Digest)
	expectKind(t, s.Verify(b.Digest), jobs.Corrupt)
	expectNothing(t, s, b.Digest)
	expectKind(t, s.Verify(b.Digest), jobs.NotFound)
	Put(t, s, Job(1), data)
	expectBlob(t, s, b, data)
}

func testConcurrent(t *testing.T, h Harness) {
	data := bytes.Repeat([]byte("many at once"), 20_000)
	s := h.New(t, int64(8*len(data)))
	b := BlobOf(data)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if i == 7 {
				expectKind(t, s.Put(blobs.For(Job(i)), b, bytes.NewReader(data[1:])), jobs.Corrupt)
				return
			}
			if err := s.Put(blobs.For(Job(i%3)), b, bytes.NewReader(data)); err != nil {
				t.Errorf("Put %d: %v", i, err)
			}
		})
	}
	group.Wait()
	expectBlob(t, s, b, data)
	expectList(t, s, blobs.Kept{Blob: b, Claims: sorted(Job(0), Job(1), Job(2))})
	Put(t, s, Job(0), bytes.Repeat(data, 7)) // fits if the one blob was counted once
}

// testStampede does everything at once. What each call finds is open, but in the end the store has all that it
// claims.
func testStampede(t *testing.T, h Harness) {
	s := h.New(t, 0)
	var group sync.WaitGroup
	for i := range 6 {
		group.Go(func() {
			for step := range 10 {
				data := []byte{byte((i + step) % 2)}
				b := BlobOf(data)
				switch (i * (step + 1)) % 5 {
				case 0:
					allow(t, s.Delete(b.Digest))
				case 1:
					allow(t, blobs.Forget(s, Job(step%2)))
				case 2:
					allow(t, s.Keep(blobs.For(Job(step%2)), b), jobs.NotFound, jobs.Unavailable)
				default:
					allow(t, s.Put(blobs.For(Job(step%3)), b, bytes.NewReader(data)), jobs.Unavailable)
				}
			}
		})
	}
	group.Wait()
	for _, k := range s.List() {
		if err := s.Verify(k.Blob.Digest); err != nil || len(k.Claims) == 0 {
			t.Errorf("%v: %v", k, err)
		}
	}
	if h.Reopen != nil {
		want := s.List()
		expectList(t, h.Reopen(t, s), want...)
	}
}

func testReopen(t *testing.T, h Harness) {
	if h.Reopen == nil {
		return // nothing survives, by its own account
	}
	s := h.New(t, 0)
	one, two := []byte("one"), []byte("two")
	b1, b2 := Put(t, s, Job(1), one), Put(t, s, Job(1), two)
	empty := Put(t, s, Job(3), nil)
	if err := s.Keep(blobs.For(Job(2)), b1); err != nil {
		t.Fatal(err)
	}
	want := s.List()
	s = h.Reopen(t, s)
	expectList(t, s, want...)
	expectBlob(t, s, b1, one)
	expectBlob(t, s, empty, nil)
	if err := errors.Join(blobs.Forget(s, Job(1)), s.Delete(empty.Digest)); err != nil {
		t.Fatal(err)
	}
	s = h.Reopen(t, s)
	expectNothing(t, s, b2.Digest)
	expectList(t, s, blobs.Kept{Blob: b1, Claims: sorted(Job(2))})
}
