package blobstest

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"idlegrid/agent/peer/blobs"
	"idlegrid/jobs"
)

// model is what a store should hold: for each blob the jobs that need it.
type model map[byte]map[int]bool

// testModel runs random histories on a store and on a model, and compares them after each step.
func testModel(t *testing.T, h Harness) {
	const names, owners = 4, 3
	rapid.Check(t, func(rt *rapid.T) {
		s, m := h.New(t, 0), model{}
		name := rapid.ByteRange(0, names-1)
		owner := rapid.IntRange(0, owners-1)
		steps := map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				n, j := name.Draw(rt, "blob"), owner.Draw(rt, "job")
				Put(t, s, Job(j), modelData(n))
				m.add(n, j)
			},
			"keep": func(rt *rapid.T) {
				n, j := name.Draw(rt, "blob"), owner.Draw(rt, "job")
				err := s.Keep(blobs.For(Job(j)), BlobOf(modelData(n)))
				if (err == nil) != (m[n] != nil) {
					rt.Fatalf("Keep: %v", err)
				}
				if err == nil {
					m.add(n, j)
				}
			},
			"delete": func(rt *rapid.T) {
				n := name.Draw(rt, "blob")
				if err := s.Delete(BlobOf(modelData(n)).Digest); err != nil {
					rt.Fatal(err)
				}
				delete(m, n)
			},
			"forget": func(rt *rapid.T) {
				j := owner.Draw(rt, "job")
				if err := blobs.Forget(s, Job(j)); err != nil {
					rt.Fatal(err)
				}
				m.forget(j)
			},
		}
		if h.Reopen != nil {
			steps["crash"] = func(*rapid.T) { s = h.Reopen(t, s) }
		}
		// Short histories: each step of a store on disk waits for the disk, and what can go wrong between
		// four blobs and three jobs needs few of them.
		step := rapid.SampledFrom(slices.Sorted(maps.Keys(steps)))
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			steps[step.Draw(rt, "step")](rt)
			m.check(rt, s)
		}
	})
}

func modelData(n byte) []byte { return bytes.Repeat([]byte{n}, int(n)) }

func (m model) add(n byte, job int) {
	if m[n] == nil {
		m[n] = make(map[int]bool)
	}
	m[n][job] = true
}

func (m model) forget(job int) {
	for n, owners := range m {
		delete(owners, job)
		if len(owners) == 0 {
			delete(m, n)
		}
	}
}

func (m model) check(t *rapid.T, s blobs.Store) {
	list := s.List()
	if len(list) != len(m) {
		t.Fatalf("%d blobs, expected %d", len(list), len(m))
	}
	for n, owners := range m {
		want := blobs.Kept{Blob: BlobOf(modelData(n))}
		for j := range owners {
			want.Claims = append(want.Claims, blobs.For(Job(j)))
		}
		slices.SortFunc(want.Claims, byJob)
		same := func(k blobs.Kept) bool { return k.Blob == want.Blob && slices.Equal(k.Claims, want.Claims) }
		if !slices.ContainsFunc(list, same) {
			t.Fatalf("blob %d with %d jobs is not in %v", n, len(owners), list)
		}
		if err := s.Verify(want.Blob.Digest); err != nil {
			t.Fatal(err)
		}
	}
}

// sorted returns the claims of a blob that these jobs have as an input.
func sorted(ids ...jobs.JobID) []blobs.Claim {
	out := make([]blobs.Claim, 0, len(ids))
	for _, id := range ids {
		out = append(out, blobs.For(id))
	}
	slices.SortFunc(out, byJob)
	return out
}

func byJob(a, b blobs.Claim) int { return bytes.Compare(a.Job[:], b.Job[:]) }
