package node

import (
	"context"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

const (
	// mendTimeout bounds what is done for one report: to fetch its pack and to give it to others.
	mendTimeout = 30 * time.Second
	// maxMends bounds the reports that are mended at once, and maxMended those of one comparison. What is left
	// out is refused again at the next.
	maxMends  = 8
	maxMended = 256
)

// mendAll mends reports that a steward refused for now, those that lack receipts which count today.
func (n *Node) mendAll(ctx context.Context, ids []jobs.Digest) {
	var work sync.WaitGroup
	for _, id := range ids[:min(len(ids), maxMended)] {
		work.Go(func() {
			if _, err := n.Mend(ctx, id); err != nil {
				n.log.Info("cannot give a report's pack to others yet", "report", id, "err", err)
			}
		})
	}
	work.Wait()
}

// Mend gives the pack of a report that is kept here to agents that may hold it now, unless enough have it, and
// returns the receipts that are kept with the report then. A pack that is not here is fetched first: whoever
// offers a report mends it, its author or not.
func (n *Node) Mend(ctx context.Context, id jobs.Digest) ([]record.Envelope, error) {
	select {
	case n.mends <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-n.mends }()
	ctx, cancel := context.WithTimeout(ctx, mendTimeout)
	defer cancel()
	report, holders, enough, err := n.Store.Holders(id)
	if err != nil {
		return nil, err
	}
	if enough {
		o, err := n.Store.Get(id)
		return o.Receipts, err
	}
	members := n.Members()
	if err := n.Client.Fetch(ctx, blobs.Claim{Job: report.Job, Kind: blobs.Cached}, report.Pack, peer.Sources(n.ID(), report.Pack.Digest, members, append(holders, report.Author)...)); err != nil {
		return nil, err
	}
	receipts, short := n.Client.Place(ctx, blobs.Claim{Job: report.Job, Kind: blobs.Pack}, report.Pack, members)
	kept, err := n.Store.AddReceipts(id, receipts)
	if short != nil {
		return kept, short
	}
	return kept, err
}
