package node

import (
	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// count counts a blob.
func (r *repairer) count(to *peer.BlobCounts, c *copies) {
	online, believed := r.online(c), r.believed(c)
	switch {
	case online == 0:
		to.None++
	case online < min(onlineCopies, len(r.pool)) || believed < min(peer.Copies, len(r.pool)):
		to.Few++
	default:
		to.Enough++
	}
}

// CountedBlobs returns the copies of a shard's blobs, as they were last counted; false: they were not, as by all but the
// shard's first steward.
func (n *Node) CountedBlobs(shard jobs.ShardID) (peer.BlobCounts, bool) {
	counts, ok := n.counted.Load(shard)
	if !ok {
		return peer.BlobCounts{}, false
	}
	return counts.(peer.BlobCounts), true
}
