package peer_test

import (
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// BenchmarkStewards finds the stewards of a shard in the largest pool: the coordinator does for each live job, once a
// minute at least.
func BenchmarkStewards(b *testing.B) {
	members := make([]peer.Member, 500)
	for n := range members {
		members[n] = member(n, peer.Office)
	}
	b.ReportAllocs()
	for n := uint32(0); b.Loop(); n++ {
		if got := peer.Stewards(jobs.ShardID{Shard: n}, members); len(got) != peer.Copies {
			b.Fatal(len(got))
		}
	}
}
