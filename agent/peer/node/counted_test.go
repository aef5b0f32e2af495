package node

import (
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// counted returns what the job's steward says of its blob, and how many say something.
func (o *office) counted() (counts peer.BlobCounts, stewards int) {
	for _, n := range o.nodes {
		if n == nil {
			continue
		}
		if c, ok := n.CountedBlobs(jobs.ShardID{Job: o.job}); ok {
			counts = c
			stewards++
		}
	}
	return counts, stewards
}

// TestCountedBlobs: the first steward, and nobody else, says how many copies there are: while nobody has one, while there
// is one, and when there are enough again.
func TestCountedBlobs(t *testing.T) {
	inOffice(t, 5, [2]int{17, 1}, func(o *office) { // at a time of the day at which a third copy is not made
		want := func(what string, want peer.BlobCounts) {
			t.Helper()
			o.within(10*time.Minute, what, func() bool {
				counts, stewards := o.counted()
				return stewards == 1 && counts == want
			})
		}
		want("nobody has it", peer.BlobCounts{None: 1})
		who := o.place()
		o.must(o.nodes[who[2]].Blobs.Delete(o.blob.Digest))
		time.Sleep(surveyEvery)
		want("two have it", peer.BlobCounts{Few: 1})
		until(19, 30)
		o.within(time.Hour, "three copies", func() bool { return len(o.holders()) == 3 })
		want("three have it", peer.BlobCounts{Enough: 1})
		for i, n := range o.nodes {
			if _, ok := n.CountedBlobs(jobs.ShardID{Job: o.job}); ok {
				o.off(i)
				break
			}
		}
		want("another is the first steward", peer.BlobCounts{Enough: 1})
	})
}
