package node

import (
	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// count counts a blob with so many copies.
func (r *repairer) count(to *peer.BlobCounts, online, believed int) {
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
