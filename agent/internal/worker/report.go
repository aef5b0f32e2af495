package worker

import (
	"bytes"
	"context"
	"errors"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	pushTimeout = 30 * time.Second
	pushRetry   = 2 * time.Second
	// pushReports bounds the reports in one push; a report is at most 64 KiB or so.
	pushReports = 16
	// flushRetry spaces attempts to store a pack at holders.
	flushRetry = 2 * time.Second
)

func (w *Worker) flushDue(now time.Time) bool {
	return !w.flushing && len(w.finished) > 0 &&
		(len(w.finished) >= flushBundles || w.bytes >= flushBytes || now.Sub(w.oldest) >= flushAfter)
}

// take removes the finished bundles of one shard, at most a report's worth.
func (w *Worker) take() []*bundle {
	s := w.finished[0].shard
	var batch, rest []*bundle
	packed, size := 0, 0
	for _, b := range w.finished {
		fits := len(batch) < flushBundles && packed+b.bytes <= flushBytes && size+b.size <= reportBytes
		if b.shard == s && (fits || len(batch) == 0) {
			batch = append(batch, b)
			packed += b.bytes
			size += b.size
		} else {
			rest = append(rest, b)
		}
	}
	w.finished = rest
	w.bytes -= packed
	return batch
}

// flush packs and journals one report's worth of finished bundles.
func (w *Worker) flush(ctx context.Context) {
	batch := w.take()
	w.flushing = true
	w.counter++
	counter := w.o.Store.Boot()<<32 | uint64(w.counter)
	w.spawn(func() event {
		p, err := w.journal(ctx, batch, counter)
		return func(now time.Time) {
			w.flushing = false
			if err != nil {
				w.unflushed(batch, err, now)
				return
			}
			for _, b := range batch {
				b.packed = nil // the bytes lie in the pack now
			}
			w.reports[p.offer.Envelope.ID()] = p
		}
	})
}

// unflushed puts bundles back whose pack or report could not be stored, to try again a little later.
func (w *Worker) unflushed(batch []*bundle, err error, now time.Time) {
	if !errors.Is(err, context.Canceled) {
		w.log.Warn("cannot store a pack, trying again", "shard", batch[0].shard.id, "bundles", len(batch), "err", err)
	}
	w.finished = append(batch, w.finished...)
	for _, b := range batch {
		w.bytes += b.bytes
	}
	w.oldest = now.Add(flushRetry - flushAfter)
}

// journal packs outcomes, stores the pack at its holders, signs a report and writes it into the journal.
func (w *Worker) journal(ctx context.Context, batch []*bundle, counter uint64) (*pending, error) {
	s := batch[0].shard
	p := &pending{shard: s.id, bundles: batch, kept: map[jobs.AgentID]bool{}}
	report := record.Report{
		Job: s.id.Job, Shard: s.id.Shard, Author: w.o.Self, Counter: counter,
		Runtime: w.o.Runtime, Platform: w.o.Platform,
	}
	var outcomes []record.UnitOutcome
	for _, b := range batch {
		outcomes = append(outcomes, b.packed...)
		report.Bundles = append(report.Bundles, record.BundleReport{Bundle: b.number, Attempt: b.attempt, Units: b.units})
		p.bytes += b.bytes
	}
	pack := record.EncodePack(outcomes)
	report.Pack = jobs.Blob{Digest: jobs.DigestOf(pack), Size: int64(len(pack))}
	if err := w.o.Dir.Put(s.id.Job, report.Pack, bytes.NewReader(pack)); err != nil {
		return nil, err
	}
	receipts, err := w.replicate(ctx, s.id.Job, report.Pack)
	if err != nil {
		return nil, err
	}
	p.offer = records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeReport, report.Encode(), w.o.Key), Receipts: receipts},
		Chains: [][][]byte{w.o.Chain()},
	}
	return p, w.addOwn(ctx, p.offer)
}

// addOwn writes a report of this agent's own into the journal.
func (w *Worker) addOwn(ctx context.Context, o records.Offer) error {
	_, refused, err := w.o.Store.Add(ctx, []records.Offer{o}, false)
	if err == nil && len(refused) > 0 {
		err = jobs.Errorf(jobs.Internal, "own report refused: %s", refused[0].Reason)
	}
	return err
}

// replicate stores a blob at its holders. Where too few of the first choices answer, the next are asked.
func (w *Worker) replicate(ctx context.Context, job jobs.JobID, b jobs.Blob) ([]record.Envelope, error) {
	members := w.o.Members()
	need := peer.Needed(members)
	ranked := peer.Holders(b.Digest, members, 2*peer.Copies)
	var receipts []record.Envelope
	var errs error
	for len(ranked) > 0 && len(receipts) < need {
		n := min(peer.Copies, len(ranked))
		got, err := w.o.Blobs.Replicate(ctx, job, b, ranked[:n], need-len(receipts))
		receipts = append(receipts, got...)
		errs = errors.Join(errs, err)
		ranked = ranked[n:]
	}
	if len(receipts) < need {
		return nil, jobs.Errorf(jobs.Unavailable, "pack %s is held by %d agents, %d are needed: %w", b.Digest, len(receipts), need, errs)
	}
	return receipts, nil
}

// push offers pending reports to the stewards that have not kept them, one call at a time to each.
func (w *Worker) push(ctx context.Context, now time.Time) {
	todo := map[jobs.AgentID][]*pending{}
	to := map[jobs.AgentID]peer.Member{}
	members := w.o.Members()
	for id, p := range w.reports {
		s := w.shards[p.shard]
		if s == nil {
			w.kept(id, p)
			continue // the job has ended
		}
		stewards := peer.Stewards(p.shard, members)
		for _, m := range stewards {
			if m.ID == w.o.Self {
				p.kept[m.ID] = true // the journal is this steward's ledger
			}
			if !p.kept[m.ID] && !p.mending && len(todo[m.ID]) < pushReports {
				todo[m.ID], to[m.ID] = append(todo[m.ID], p), m
			}
		}
		if w.enough(s, p, stewards, peer.Needed(members)) {
			w.acknowledged(s, id, p, stewards)
		}
	}
	for id, list := range todo {
		if !w.pushing[id] && !now.Before(w.retry[id]) {
			w.pushTo(ctx, to[id], list)
		}
	}
}

// enough reports whether a report is durable: enough stewards keep it. What the lending steward has not kept
// is held on, or it would lend it again.
func (w *Worker) enough(s *shard, p *pending, stewards []peer.Member, need int) bool {
	n, lender := 0, true
	for _, m := range stewards {
		if p.kept[m.ID] {
			n++
		} else if m.ID == s.lender {
			lender = false
		}
	}
	return n >= need && lender
}

// acknowledged lets go of a report's bundles; the report itself waits for the last steward.
func (w *Worker) acknowledged(s *shard, id jobs.Digest, p *pending, stewards []peer.Member) {
	w.release(p)
	for _, m := range stewards {
		if !p.kept[m.ID] {
			return
		}
	}
	delete(w.reports, id)
}

// release ends the holding of a report's bundles.
func (w *Worker) release(p *pending) {
	for _, b := range p.bundles {
		if b.shard.bundles[b.number] == b {
			delete(b.shard.bundles, b.number)
			b.shard.changed = true
		}
	}
	w.backlog -= p.bytes
	p.bundles, p.bytes = nil, 0
}

func (w *Worker) kept(id jobs.Digest, p *pending) {
	w.release(p)
	delete(w.reports, id)
}

func (w *Worker) pushTo(ctx context.Context, to peer.Member, list []*pending) {
	w.pushing[to.ID] = true
	req := &gridv1.PushRequest{}
	for _, p := range list {
		req.Records = append(req.Records, records.OfferToProto(p.offer))
	}
	w.spawn(func() event {
		refused, err := w.offer(ctx, to, req)
		return func(now time.Time) {
			delete(w.pushing, to.ID)
			if err != nil {
				w.retry[to.ID] = now.Add(pushRetry)
				return
			}
			delete(w.retry, to.ID)
			w.pushed(ctx, to, list, refused, now)
		}
	})
}

func (w *Worker) offer(ctx context.Context, to peer.Member, req *gridv1.PushRequest) ([]records.Refusal, error) {
	conn, err := w.o.Dial(to.Address, to.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	reply, err := gridv1.NewRecordsClient(conn).Push(ctx, req)
	if err != nil {
		return nil, err
	}
	return records.RefusalsFromProto(reply.GetRefused())
}

// pushed takes a steward's answer: what it did not refuse it keeps.
func (w *Worker) pushed(ctx context.Context, to peer.Member, list []*pending, refused []records.Refusal, now time.Time) {
	no := map[jobs.Digest]records.Refusal{}
	for _, r := range refused {
		no[r.ID] = r
	}
	for _, p := range list {
		id := p.offer.Envelope.ID()
		r, ok := no[id]
		switch {
		case !ok:
			p.kept[to.ID] = true
		case r.Final:
			w.log.Error("steward refuses a report for good", "steward", to.ID, "shard", p.shard, "reason", r.Reason)
			w.kept(id, p)
		default:
			w.log.Info("steward refuses a report for now", "steward", to.ID, "shard", p.shard, "reason", r.Reason)
			w.retry[to.ID] = now.Add(pushRetry)
			w.mendOne(ctx, to, p)
		}
	}
}

// mendOne does what can make a steward take a report: give it the manifest, and the pack more holders.
func (w *Worker) mendOne(ctx context.Context, to peer.Member, p *pending) {
	if p.mending {
		return
	}
	p.mending = true
	report, err := record.DecodeReport(p.offer.Envelope.Payload)
	if err != nil {
		w.log.Error("own report does not decode", "err", err)
		return
	}
	w.spawn(func() event {
		receipts, err := w.mended(ctx, to, report)
		return func(time.Time) {
			p.mending = false
			if err != nil {
				w.log.Info("cannot give a pack more holders yet", "shard", p.shard, "err", err)
				return
			}
			p.offer.Receipts = receipts
		}
	})
}

func (w *Worker) mended(ctx context.Context, to peer.Member, report *record.Report) ([]record.Envelope, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	if to.ID != w.o.Self && !to.ID.IsZero() {
		conn, err := w.o.Dial(to.Address, to.ID)
		if err != nil {
			return nil, err
		}
		if _, err := w.o.Store.Sync(ctx, conn, records.Scope{}, records.Offering); err != nil {
			return nil, err
		}
	}
	return w.replicate(ctx, report.Job, report.Pack)
}

// mendReports takes own reports from the journal that a steward refused when sets were compared, and offers
// them again with more holders.
func (w *Worker) mendReports(ctx context.Context, ids []jobs.Digest) {
	for _, id := range ids {
		if w.reports[id] != nil {
			continue
		}
		o, err := w.o.Store.Get(id)
		if err != nil {
			continue // forgotten meanwhile
		}
		report, err := record.DecodeReport(o.Envelope.Payload)
		if err != nil || report.Author != w.o.Self {
			continue // another author's, who mends it
		}
		p := &pending{offer: o, shard: jobs.ShardID{Job: report.Job, Shard: report.Shard}, kept: map[jobs.AgentID]bool{}}
		w.reports[id] = p
		w.mendOne(ctx, peer.Member{}, p)
	}
}

// flushLast journals what is finished when the worker stops; stewards get it at the next start.
func (w *Worker) flushLast(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for len(w.finished) > 0 {
		w.counter++
		batch := w.take()
		if _, err := w.journal(ctx, batch, w.o.Store.Boot()<<32|uint64(w.counter)); err != nil {
			w.log.Warn("finished units are lost with this stop", "bundles", len(batch), "err", err)
			return
		}
	}
}
