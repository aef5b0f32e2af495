package worker

import (
	"context"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

const (
	pushTimeout = 30 * time.Second
	// pushEvery is how often the worker looks for reports to push while there are any.
	pushEvery = time.Second
	// pushRetry spaces attempts to push to a steward that did not answer, or a report that one refused;
	// pushRetryMax is where the latter's doubling ends.
	pushRetry    = 2 * time.Second
	pushRetryMax = time.Minute
	// pushReports and pushBytes bound one push; a single report may be larger, up to record.MaxPayload.
	pushReports = 64
	pushBytes   = 1 << 20
	// offerOn is how long a report that is durable is still offered to stewards that lack it. Later they get
	// it from each other.
	offerOn = time.Minute
)

// pending is a report of this agent in its journal that not all stewards have answered for.
type pending struct {
	offer   records.Offer
	shard   jobs.ShardID
	answers map[jobs.AgentID]bool // of stewards: true, kept; false, refused for good
	parts   []*part               // held until the report is durable
	until   time.Time             // offered until then; zero: not durable yet
	again   time.Time             // not offered before: refused for now
	refused int                   // times in a row
	mending bool
}

// load is what one steward gets in one push.
type load struct {
	to      peer.Member
	reports []*pending
	bytes   int
}

// add takes a report in if there is room.
func (l *load) add(p *pending) {
	size := len(p.offer.Envelope.Payload)
	if len(l.reports) == 0 || len(l.reports) < pushReports && l.bytes+size <= pushBytes {
		l.reports = append(l.reports, p)
		l.bytes += size
	}
}

// push offers reports to the stewards that have not answered for them, one call at a time to each.
func (w *Worker) push(ctx context.Context, now time.Time) {
	w.pushAt = now.Add(pushEvery)
	for id, at := range w.silent {
		if !now.Before(at) {
			delete(w.silent, id)
		}
	}
	for id, l := range w.loads(now) {
		if _, silent := w.silent[id]; !silent && !w.pushing[id] {
			w.pushTo(ctx, l)
		}
	}
}

// loads lets go of the reports that are durable and returns what each steward should be offered.
func (w *Worker) loads(now time.Time) map[jobs.AgentID]*load {
	members := w.o.Members()
	need := peer.Needed(members)
	placed := map[jobs.ShardID][]peer.Member{}
	out := map[jobs.AgentID]*load{}
	for id, p := range w.reports {
		s := w.shards[p.shard]
		if s == nil { // the job has ended
			w.release(p)
			delete(w.reports, id)
			continue
		}
		stewards, ok := placed[p.shard]
		if !ok {
			stewards = peer.Stewards(p.shard, members)
			placed[p.shard] = stewards
		}
		if w.settled(p, stewards, need, now) {
			delete(w.reports, id)
			continue
		}
		for _, m := range stewards {
			if _, answered := p.answers[m.ID]; answered || p.mending || now.Before(p.again) {
				continue
			}
			if out[m.ID] == nil {
				out[m.ID] = &load{to: m}
			}
			out[m.ID].add(p)
		}
	}
	return out
}

// settled lets go of a report's parts once it is durable, and reports whether the report needs no more
// offering.
func (w *Worker) settled(p *pending, stewards []peer.Member, need int, now time.Time) bool {
	kept, all, lender := 0, len(stewards) > 0, true
	for _, m := range stewards {
		if m.ID == w.o.Self {
			p.answers[m.ID] = true // the journal is this steward's ledger
		}
		keeps, answered := p.answers[m.ID]
		if keeps {
			kept++
		}
		if !answered {
			all = false
			// Bundles that the lender does not see kept are held on, or it would lend them again.
			lender = lender && m.ID != w.shards[p.shard].lender
		}
	}
	if all || kept >= need && lender {
		w.release(p)
		if p.until.IsZero() {
			p.until = now.Add(offerOn)
		}
	}
	return all || !p.until.IsZero() && !now.Before(p.until)
}

// release ends the holding of what a report says.
func (s *state) release(p *pending) {
	for _, part := range p.parts {
		s.reported(part)
		s.settle(part)
	}
	p.parts = nil
}

func (w *Worker) pushTo(ctx context.Context, l *load) {
	w.pushing[l.to.ID] = true
	w.spawn(func() event {
		refused, err := w.offer(ctx, l)
		return func(now time.Time) {
			delete(w.pushing, l.to.ID)
			if err != nil {
				w.silent[l.to.ID] = now.Add(pushRetry)
				return
			}
			w.pushAt = time.Time{} // there may be more for it
			w.pushed(ctx, l, refused, now)
		}
	})
}

func (w *Worker) offer(ctx context.Context, l *load) ([]records.Refusal, error) {
	conn, err := w.o.Dial(l.to.Address, l.to.ID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	offers := make([]records.Offer, 0, len(l.reports))
	for _, p := range l.reports {
		offers = append(offers, p.offer)
	}
	failpoint.Hit("worker.pushing")
	refused, err := records.Push(ctx, conn, offers, false)
	if err == nil {
		failpoint.Hit("worker.pushed")
	}
	return refused, err
}

// pushed takes a steward's answer: what it did not refuse it keeps.
func (w *Worker) pushed(ctx context.Context, l *load, refused []records.Refusal, now time.Time) {
	no := map[jobs.Digest]records.Refusal{}
	for _, r := range refused {
		no[r.ID] = r
	}
	for _, p := range l.reports {
		r, ok := no[p.offer.Envelope.ID()]
		switch {
		case !ok:
			p.answers[l.to.ID], p.refused = true, 0
		case r.Final:
			w.log.Error("steward refuses a report for good", "steward", l.to.ID, "shard", p.shard, "reason", r.Reason)
			p.answers[l.to.ID] = false
		default:
			w.log.Info("steward refuses a report for now", "steward", l.to.ID, "shard", p.shard, "reason", r.Reason)
			p.again = now.Add(min(pushRetryMax, pushRetry<<min(p.refused, 5)))
			p.refused++
			w.mendOne(ctx, l.to, p)
		}
	}
}

// mendOne does what can make a steward take a report: give it the manifest, and the pack more holders.
func (w *Worker) mendOne(ctx context.Context, to peer.Member, p *pending) {
	if p.mending || w.stopping {
		return
	}
	p.mending = true
	w.spawn(func() event {
		receipts, err := w.mended(ctx, to, p.offer)
		return func(time.Time) {
			p.mending = false
			w.pushAt = time.Time{}
			if err != nil {
				w.log.Info("cannot give a pack more holders yet", "shard", p.shard, "err", err)
				return
			}
			p.offer.Receipts = receipts
		}
	})
}

func (w *Worker) mended(ctx context.Context, to peer.Member, o records.Offer) ([]record.Envelope, error) {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	conn, err := w.o.Dial(to.Address, to.ID)
	if err != nil {
		return nil, err
	}
	if _, err := w.o.Store.Sync(ctx, conn, records.Scope{}, records.Offering); err != nil {
		return nil, err
	}
	return w.o.Mend(ctx, o.Envelope.ID())
}
