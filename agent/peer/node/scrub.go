package node

import (
	"context"
	"slices"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/jobs"
)

const (
	// tendEvery is how often the blobs that are here are looked after.
	tendEvery = time.Minute
	// scrubAfter is when a blob is read again, and scrubRounds within how many rounds all would be that are due: a PC
	// that is on for eight hours in two days reads everything within a week, and at an even pace.
	scrubAfter  = 5 * 24 * time.Hour
	scrubRounds = 8 * 60
	// abandonEvery is how often checkpoints are looked for that nobody will go on from.
	abandonEvery = time.Hour
	// A store whose quota leaves less than a tenth is emptied until it leaves fullUntil hundredths.
	fullFrom, fullUntil = 10, 15
	// othersNeeded is how many others must have a blob before one that a live job may need goes from here, and
	// maxAsked how many are asked.
	othersNeeded = 2
	maxAsked     = 16
	// roomTimeout bounds what a blob waits for others to go, and roomRest is how long there is no other try after one
	// that was of no use.
	roomTimeout = 5 * time.Second
	roomRest    = 10 * time.Second
)

// tender looks after the blobs that are here: it reads each within a week and fetches it again where it has rotted,
// lets go of copies that belong elsewhere by now and of checkpoints that nobody will go on from, and makes room on a
// disk that gets full. What a live job may need it lets go of only when two others say that they have it.
type tender struct {
	node      *Node
	rotten    []blobs.Entry // deleted, and to be fetched again
	abandoned time.Time     // when checkpoints were looked at
}

func (n *Node) keepBlobs(ctx context.Context) {
	if n.Identity().Caller().Role != peer.Agent {
		return // a coordinator keeps what it was given
	}
	t := &tender{node: n}
	first := true
	every(ctx, func() time.Duration {
		if !first && n.Disk() == nil {
			t.round(ctx)
		}
		first = false
		return jitter(tendEvery)
	})
}

func (t *tender) round(ctx context.Context) {
	t.scrub(ctx)
	t.makeRoom(ctx)
	t.restore(ctx)
	if now := time.Now(); now.Sub(t.abandoned) >= abandonEvery && !t.node.Clock().Off {
		t.abandoned = now
		if err := t.node.Blobs.Drop(blobs.Abandoned(t.node.Blobs.Entries(), now)); err != nil {
			t.node.log.Warn("cannot remove checkpoints that nobody goes on from", "err", err)
		}
	}
}

// scrub reads blobs that nobody has read for long.
func (t *tender) scrub(ctx context.Context) {
	n := t.node
	most := n.Blobs.Usage().Bytes / scrubRounds
	read := int64(0)
	for _, b := range n.Blobs.Unverified(time.Now().Add(-scrubAfter)) {
		if read > most || ctx.Err() != nil {
			return
		}
		read += b.Size
		e, _ := n.Blobs.Entry(b.Digest)
		switch err := n.Blobs.Scrub(b.Digest); {
		case err == nil:
			t.trim(ctx, e)
		case jobs.KindOf(err) == jobs.Corrupt:
			n.log.Warn("a blob has rotted on this disk, fetching it again", "blob", b, "err", err)
			t.rotten = append(t.rotten, e)
		case jobs.KindOf(err) != jobs.NotFound: // gone meanwhile
			n.log.Warn("cannot read a blob again", "blob", b, "err", err)
		}
	}
}

// restore fetches what has rotted, as it was kept. What nobody gives is tried again while a live job needs it.
func (t *tender) restore(ctx context.Context) {
	n := t.node
	rotten := t.rotten
	t.rotten = nil
	until := time.Now().Add(repairFor)
	for _, e := range rotten {
		left := e
		left.Claims = nil
		for _, h := range e.Claims {
			if n.Store.Runnable(h.Job) != nil {
				continue
			}
			err := errLater
			if n.repairs.await(ctx, e.Blob.Size, until) {
				err = n.fetchCopy(ctx, h.Claim, e.Blob)
			}
			if err != nil {
				n.log.Debug("cannot fetch a blob again yet", "blob", e.Blob, "err", err)
				left.Claims = append(left.Claims, h)
			}
		}
		if len(left.Claims) > 0 {
			t.rotten = append(t.rotten, left)
		}
	}
}

// trim lets go of a copy that belongs elsewhere by now, when all are there that should have one.
func (t *tender) trim(ctx context.Context, e blobs.Entry) {
	n := t.node
	members := n.Members()
	holders := peer.Holders(e.Blob.Digest, members, peer.Copies)
	if len(holders) < peer.Copies || slices.ContainsFunc(holders, n.isSelf) {
		return
	}
	for _, h := range e.Claims {
		if h.Kind != blobs.Input && h.Kind != blobs.Pack || n.Store.Runnable(h.Job) != nil {
			continue
		}
		if n.countHolders(ctx, h.Job, e.Blob, holders, len(holders)) < len(holders) {
			continue
		}
		if err := n.Blobs.Drop(func(d jobs.Digest, c blobs.Claim) bool { return d == e.Blob.Digest && c == h.Claim }); err != nil {
			n.log.Warn("cannot remove a blob that belongs elsewhere", "blob", e.Blob, "err", err)
		}
	}
}

// makeRoom lets blobs go when the quota leaves too little.
func (t *tender) makeRoom(ctx context.Context) {
	n := t.node
	quota := n.Blobs.Usage().Quota
	from, until := max(1, quota/100*fullFrom), max(1, quota/100*fullUntil)
	if quota == 0 || n.Blobs.Room() >= from {
		return
	}
	n.evict(ctx, until)
	if n.Blobs.Room() < until {
		n.log.Warn("the blobs kept here leave little room", "bytes_left", n.Blobs.Room(), "hint", "seal or cancel jobs that are done with, or give this agent more: --disk-gib, and disk in the policy")
	}
}

// roomFor makes room for a blob that came when there is none. One caller does so at a time, for a while at most, and
// when that did not do, no other tries before it may be different.
func (n *Node) roomFor(size int64) {
	if n.Identity().Caller().Role != peer.Agent || n.Disk() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(n.life, roomTimeout)
	defer cancel()
	select {
	case n.evicting <- struct{}{}:
		defer func() { <-n.evicting }()
	case <-ctx.Done():
		return
	}
	if n.Blobs.Room() >= size || time.Since(n.evicted) < roomRest {
		return
	}
	n.evict(ctx, size)
	if n.Blobs.Room() < size {
		n.evicted = time.Now()
	}
}

// evict lets blobs go until the quota leaves so much, as far as it may.
func (n *Node) evict(ctx context.Context, room int64) {
	members := n.Members()
	var running []jobs.JobID
	if n.o.Busy != nil {
		running = n.o.Busy()
	}
	order := blobs.EvictionOrder(n.Blobs.Entries(), blobs.Terms{
		Self: n.ID(), Busy: func(job jobs.JobID) bool { return slices.Contains(running, job) },
		Queued: func(job jobs.JobID) bool { return n.Store.Runnable(job) == nil },
		Stays: func(_ blobs.Claim, d jobs.Digest) bool {
			return slices.ContainsFunc(peer.Holders(d, members, peer.Copies), n.isSelf)
		},
	})
	for _, e := range order {
		if n.Blobs.Room() >= room || ctx.Err() != nil {
			return
		}
		if err := n.letGo(ctx, e); err != nil {
			n.log.Debug("keeping a blob on a full disk", "blob", e.Blob, "err", err)
		}
	}
}

func (n *Node) isSelf(m peer.Member) bool { return m.ID == n.ID() }

// letGo removes a blob, unless that might be the last copy of what a live job needs. Whoever claims it meanwhile keeps
// it.
func (n *Node) letGo(ctx context.Context, e blobs.Entry) error {
	claims := make([]blobs.Claim, 0, len(e.Claims))
	for _, h := range e.Claims {
		claims = append(claims, h.Claim)
		if h.Kind == blobs.Checkpoint || n.Store.Runnable(h.Job) != nil {
			continue
		}
		others := peer.Sources(n.ID(), e.Blob.Digest, n.Members())
		if got := n.countHolders(ctx, h.Job, e.Blob, others[:min(len(others), maxAsked)], othersNeeded); got < othersNeeded {
			return jobs.Errorf(jobs.Unavailable, "it may be the last copy: %d others have it, %d are needed", got, othersNeeded)
		}
	}
	return n.Blobs.Drop(func(d jobs.Digest, c blobs.Claim) bool { return d == e.Blob.Digest && slices.Contains(claims, c) })
}

// countHolders asks others, one after the other, until so many say that they keep the blob for the job.
func (n *Node) countHolders(ctx context.Context, job jobs.JobID, b jobs.Blob, others []peer.Member, enough int) int {
	count := 0
	for _, m := range others {
		if count == enough || ctx.Err() != nil {
			break
		}
		if n.isSelf(m) {
			continue
		}
		if have, err := n.Client.Have(ctx, job, []jobs.Blob{b}, m); err == nil && have[0] {
			count++
		}
	}
	return count
}
