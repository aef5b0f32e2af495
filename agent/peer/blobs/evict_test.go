package blobs_test

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/jobs"
)

var start = time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC)

// drawEntries makes a store's content, with few jobs, authors and units so that they meet.
func drawEntries(t *rapid.T) []blobs.Entry {
	at := func(what string) time.Time {
		return start.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, what)) * time.Hour)
	}
	var list []blobs.Entry
	for i := range rapid.IntRange(0, 12).Draw(t, "blobs") {
		e := blobs.Entry{Blob: jobs.Blob{Digest: jobs.Digest{byte(i)}, Size: 1}, Used: at("used")}
		for range rapid.IntRange(1, 3).Draw(t, "claims") {
			c := blobs.Claim{Job: blobstest.Job(rapid.IntRange(0, 2).Draw(t, "job")), Kind: blobs.Kind(rapid.IntRange(0, int(blobs.Cached)).Draw(t, "kind"))}
			if c.Kind == blobs.Checkpoint {
				c.Author, c.Unit = jobs.AgentID{byte(rapid.IntRange(0, 2).Draw(t, "author"))}, uint64(rapid.IntRange(0, 1).Draw(t, "unit"))
			}
			e.Claims = append(e.Claims, blobs.Held{Claim: c, Since: at("since")})
		}
		list = append(list, e)
	}
	return list
}

// TestEvictionOrder holds what EvictionOrder says of itself.
func TestEvictionOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := drawEntries(t)
		placed, busy := rapid.Byte().Draw(t, "placed"), blobstest.Job(rapid.IntRange(0, 3).Draw(t, "busy"))
		waits := blobstest.Job(rapid.IntRange(0, 3).Draw(t, "queued"))
		terms := blobs.Terms{
			Self:  jobs.AgentID{0},
			Stays: func(_ blobs.Claim, d jobs.Digest) bool { return placed>>(d[0]%8)&1 == 1 },
			Busy:  func(j jobs.JobID) bool { return j == busy },

			Queued: func(j jobs.JobID) bool { return j == waits },
		}
		order := blobs.EvictionOrder(list, terms)
		if again := blobs.EvictionOrder(rapid.Permutation(list).Draw(t, "order"), terms); !slices.EqualFunc(order, again, sameBlob) {
			t.Fatal("the order depends on the order")
		}
		rank := func(e blobs.Entry) int {
			worst := 1
			for _, h := range e.Claims {
				switch {
				case h.Kind == blobs.Own, h.Kind != blobs.Checkpoint && h.Job == busy:
					return 9
				case h.Kind == blobs.Checkpoint && h.Author == terms.Self:
					worst = 4
				case h.Kind == blobs.Checkpoint:
					worst = max(worst, 3)
				case h.Kind != blobs.Cached && terms.Stays(h.Claim, e.Blob.Digest):
					return 9
				case h.Kind != blobs.Pack && h.Job == waits:
					worst = max(worst, 2)
				}
			}
			return worst
		}
		may := 0
		for _, e := range list {
			if rank(e) < 9 {
				may++
			}
		}
		if len(order) != may {
			t.Fatalf("%d blobs may go, expected %d of %d", len(order), may, len(list))
		}
		for i, e := range order {
			if rank(e) == 9 {
				t.Fatalf("%v would go", e)
			}
			if i == 0 {
				continue
			}
			before := order[i-1]
			if rank(before) > rank(e) || rank(e) <= 2 && rank(before) == rank(e) && before.Used.After(e.Used) {
				t.Fatalf("%v goes before %v", before, e)
			}
		}
	})
}

func sameBlob(a, b blobs.Entry) bool { return a.Blob == b.Blob }

// TestOldestCheckpointFirst: a unit whose author goes on keeps its base, however old that is.
func TestOldestCheckpointFirst(t *testing.T) {
	part := func(n byte, author byte, hours int) blobs.Entry {
		c := blobs.Claim{Job: job, Kind: blobs.Checkpoint, Author: jobs.AgentID{author}, Unit: 7}
		return blobs.Entry{Blob: jobs.Blob{Digest: jobs.Digest{n}}, Claims: []blobs.Held{{Claim: c, Since: start.Add(time.Duration(hours) * time.Hour)}}}
	}
	list := []blobs.Entry{part(1, 1, 0), part(2, 1, 130), part(3, 2, 50), part(4, 2, 60), part(5, 0, 5)}
	terms := blobs.Terms{Stays: func(blobs.Claim, jobs.Digest) bool { return false }, Busy: func(jobs.JobID) bool { return false }, Queued: func(jobs.JobID) bool { return false }}
	var got []byte
	for _, e := range blobs.EvictionOrder(list, terms) {
		got = append(got, e.Blob.Digest[0])
	}
	if !slices.Equal(got, []byte{3, 4, 1, 2, 5}) {
		t.Errorf("they go in the order %v", got)
	}
	for hours, want := range map[int][]byte{100: nil, 126: {5}, 181: {3, 4, 5}, 251: {1, 2, 3, 4, 5}} {
		gone := blobs.Abandoned(list, start.Add(time.Duration(hours)*time.Hour))
		var got []byte
		for _, e := range list {
			if gone(e.Blob.Digest, e.Claims[0].Claim) {
				got = append(got, e.Blob.Digest[0])
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("after %d hours %v are abandoned, expected %v", hours, got, want)
		}
	}
}
