package blobs

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// Parts is a checkpoint to be given to peers. All its blobs are in the local store, claimed as OwnCheckpoint says.
type Parts struct {
	Unit     jobs.UnitID
	Blobs    []jobs.Blob       // at least one
	Keep     []jobs.Digest     // of the unit's earlier checkpoints by this peer; others go, here and at the holders
	Receipts []record.Envelope // for earlier ones: what a holder has already it is not given again
}

// OwnCheckpoint is the claim of a part of a checkpoint by this peer, made here or fetched to go on from.
func (c *Client) OwnCheckpoint(u jobs.UnitID) Claim {
	return Claim{Job: u.Job, Kind: Checkpoint, Author: c.self, Unit: u.Unit}
}

// PlaceCheckpoint gives all parts of a checkpoint to the members that should hold it, this peer only where there is
// no other. Where too few of the first choices take it the next are asked. Once one has it the others get as long again
// and no longer: a checkpoint must not wait, and all that follow with it, for a machine that was switched off a moment
// ago. It returns the receipts of those who have all of it, for each part; the error says why there are none.
func (c *Client) PlaceCheckpoint(ctx context.Context, p Parts, members []peer.Member) ([]record.Envelope, error) {
	others := slices.DeleteFunc(slices.Clone(members), func(m peer.Member) bool { return m.ID == c.self })
	ranked := peer.CheckpointHolders(p.Unit, others, 2*peer.CheckpointCopies)
	if len(ranked) == 0 {
		ranked = peer.CheckpointHolders(p.Unit, members, 1)
	}
	for _, b := range p.Blobs {
		p.Keep = append(p.Keep[:len(p.Keep):len(p.Keep)], b.Digest)
	}
	var receipts []record.Envelope
	var reasons []error
	var within time.Duration
	for holders := 0; len(ranked) > 0 && holders < peer.CheckpointCopies; {
		n := min(peer.CheckpointCopies-holders, len(ranked))
		var all []took
		all, within = c.givePartsTo(ctx, p, ranked[:n], within)
		for _, a := range all {
			if a.err != nil {
				reasons = append(reasons, a.err)
				continue
			}
			holders++
			receipts = append(receipts, a.receipts...)
		}
		ranked = ranked[n:]
	}
	err := supersede(c.store, c.OwnCheckpoint(p.Unit), p.Keep)
	if len(receipts) == 0 {
		why := jobs.Errorf(jobs.Unavailable, "no agent took the checkpoint of %s: %w", p.Unit, cmp.Or(errors.Join(reasons...), errNobody))
		err = errors.Join(err, why)
	}
	return receipts, err
}

// took is what came of giving a checkpoint to one member.
type took struct {
	receipts []record.Envelope
	err      error
}

// givePartsTo gives a checkpoint to members, within a time if it is not zero. Else the first who has it sets the time
// for the others, which is returned.
func (c *Client) givePartsTo(ctx context.Context, p Parts, to []peer.Member, within time.Duration) ([]took, time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := time.Now()
	answers := make(chan took, len(to))
	for _, m := range to {
		go func() {
			receipts, err := c.giveParts(ctx, p, m)
			answers <- took{receipts, err}
		}()
	}
	if within > 0 {
		time.AfterFunc(within, cancel) // harmless once all have answered
	}
	all := make([]took, 0, len(to))
	for range to { // every goroutine is waited for; cancel makes them quick
		a := <-answers
		if a.err == nil && within == 0 {
			within = max(minGrace, time.Since(start))
			time.AfterFunc(within, cancel)
		}
		all = append(all, a)
	}
	return all, within
}

// giveParts gives one member what it lacks of a checkpoint.
func (c *Client) giveParts(ctx context.Context, p Parts, to peer.Member) ([]record.Envelope, error) {
	receipts, err := c.earlier(ctx, p, to)
	if err != nil {
		return nil, err
	}
	for i, b := range p.Blobs {
		if len(receipts[i].Signatures) > 0 {
			continue
		}
		if receipts[i], err = c.giveTo(ctx, header{claim: c.OwnCheckpoint(p.Unit), blob: b, keep: p.Keep}, to); err != nil {
			return nil, err
		}
	}
	return receipts, nil
}

// earlier returns for each part the receipt that the member gave for it earlier, if it has it still.
func (c *Client) earlier(ctx context.Context, p Parts, to peer.Member) ([]record.Envelope, error) {
	out := make([]record.Envelope, len(p.Blobs))
	known := false
	for i, b := range p.Blobs {
		want := record.Receipt{Holder: to.ID, Blob: b, Job: p.Unit.Job}
		for _, e := range p.Receipts {
			if len(out[i].Signatures) == 0 && CheckReceipt(e, want) == nil {
				out[i], known = e, true
			}
		}
	}
	if !known || to.ID == c.self {
		return out, nil
	}
	have, err := c.Have(ctx, p.Unit.Job, p.Blobs, to)
	for i := range have {
		if !have[i] {
			out[i] = record.Envelope{}
		}
	}
	return out, err
}

// Have asks a member which of the blobs it keeps for the job.
func (c *Client) Have(ctx context.Context, job jobs.JobID, list []jobs.Blob, at peer.Member) ([]bool, error) {
	conn, err := c.dialer.Conn(at.Address, at.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, maxStall)
	defer cancel()
	req := &gridv1.HaveRequest{Job: job[:]}
	for _, b := range list {
		req.Digests = append(req.Digests, b.Digest[:])
	}
	reply, err := gridv1.NewBlobsClient(conn).Have(ctx, req)
	if err == nil && len(reply.GetHave()) != len(list) {
		err = jobs.Errorf(jobs.Invalid, "%s says of %d blobs whether it has them, was asked of %d", at.ID.Short(), len(reply.GetHave()), len(list))
	}
	return reply.GetHave(), err
}

// Release drops this peer's checkpoints of units of one job, here and at the members, at most MaxRelease of them. Who
// does not hear of it drops them with the job, or when no newer one came for long.
func (c *Client) Release(ctx context.Context, job jobs.JobID, units []uint64, at []peer.Member) error {
	errs := make([]error, len(at))
	var work sync.WaitGroup
	for i, m := range at {
		if m.ID != c.self {
			work.Go(func() { errs[i] = c.releaseAt(ctx, &gridv1.ReleaseRequest{Job: job[:], Units: units}, m) })
		}
	}
	work.Wait()
	return errors.Join(append(errs, release(c.store, job, c.self, units))...)
}

func (c *Client) releaseAt(ctx context.Context, req *gridv1.ReleaseRequest, m peer.Member) error {
	ctx, cancel := context.WithTimeout(ctx, maxStall)
	defer cancel()
	conn, err := c.dialer.Conn(m.Address, m.ID)
	if err == nil {
		_, err = gridv1.NewBlobsClient(conn).Release(ctx, req)
	}
	return err
}
