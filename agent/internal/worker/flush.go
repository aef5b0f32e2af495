package worker

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

const (
	// flushAfter and flushParts: everything that finished within it goes into one report.
	flushAfter = time.Second
	flushParts = 256
	// flushBytes bounds a pack, unless one part alone is larger: by less than an outcome.
	flushBytes = 8 << 20
	// reportBytes bounds a report, in bytes as counted by unitBytes: below record.MaxPayload, and above what
	// the largest bundle takes without texts.
	reportBytes = 3 << 19
	// unitBytes is what a unit takes in a report, without a failure's text, at most.
	unitBytes = 64
	// originBytes is what it takes more for each run before from whose checkpoint it went on, at most.
	originBytes = 48
	// maxFlushes bounds the packs on their way to holders: one slow holder makes a pack take seconds.
	maxFlushes = 4
	// flushRetry spaces attempts after a pack or a report could not be stored.
	flushRetry = 2 * time.Second
	// flushPatience is how long attempts may fail before the units had better run on another agent.
	flushPatience = time.Minute
)

// errUnfit says that this agent's own store refuses a report: trying again would not help.
var errUnfit = errors.New("own report refused")

// ended takes a unit's result into its bundle.
func (w *Worker) ended(b *bundle, u record.UnitReport, outcome []byte, now time.Time) {
	p := &b.ended
	if p.size+len(u.Failure.Text) > reportBytes-manifest.MaxBundle*unitBytes {
		u.Failure.Text = "" // so many units of this bundle failed that their texts do not fit into one report
	}
	p.units = append(p.units, u)
	p.packed = append(p.packed, record.UnitOutcome{Unit: u.Unit, Bytes: outcome})
	p.bytes += len(outcome)
	p.size += unitBytes + len(u.Failure.Text)
	p.size += len(u.Lineage) * originBytes
	b.open--
	w.backlog += len(outcome)
	w.spent(b.shard.job.Manifest.Submitter, u.Times.CPU, now)
	if b.open == 0 || p.bytes >= flushBytes {
		w.finish(b, now)
	}
}

// finish queues what ended of a bundle for the next pack.
func (w *Worker) finish(b *bundle, now time.Time) {
	p := b.ended
	p.bundle, b.ended = b, part{}
	b.parts++
	slices.SortFunc(p.units, func(x, y record.UnitReport) int { return cmp.Compare(x.Unit, y.Unit) })
	if len(w.finished) == 0 {
		w.oldest = now
	}
	w.finished = append(w.finished, &p)
	w.bytes += p.bytes
}

// finishAll queues what ended of all bundles, finished or not.
func (w *Worker) finishAll(now time.Time) {
	for _, s := range w.shards {
		for _, b := range s.bundles {
			if len(b.ended.units) > 0 {
				w.finish(b, now)
			}
		}
	}
}

func (w *Worker) flushDue(now time.Time) bool {
	return len(w.finished) > 0 && w.flushes < maxFlushes && !now.Before(w.flushTime())
}

// flushTime is when what is finished shall be packed: at once where nothing is at hand that could go with it.
func (w *Worker) flushTime() time.Time {
	at := w.oldest.Add(flushAfter)
	if len(w.finished) >= flushParts || w.bytes >= flushBytes || w.outOfWork() {
		at = w.oldest
	}
	return later(at, w.flushRest)
}

// outOfWork reports whether nothing runs, waits for a slot, or is on its way from a steward.
func (w *Worker) outOfWork() bool {
	for _, s := range w.shards {
		if len(s.queue) > 0 || s.asking && s.wanting {
			return false
		}
	}
	return len(w.running) == 0
}

// take removes finished parts of one shard, at most a report's worth.
func (w *Worker) take() []*part {
	s := w.finished[0].bundle.shard
	var batch, rest []*part
	packed, size, units := 0, 0, 0
	for _, p := range w.finished {
		fits := len(batch) < flushParts && packed+p.bytes <= flushBytes && size+p.size <= reportBytes &&
			units+len(p.units) <= record.MaxReportUnits
		if p.bundle.shard == s && (fits || len(batch) == 0) {
			batch = append(batch, p)
			packed += p.bytes
			size += p.size
			units += len(p.units)
		} else {
			rest = append(rest, p)
		}
	}
	w.finished = rest
	w.bytes -= packed
	return batch
}

// draft is what a report is to say.
type draft struct {
	shard   *shard
	parts   []*part // none: the agent leaves the shard
	spend   spend
	counter uint64
}

func (w *Worker) draft(s *shard, parts []*part) draft {
	return draft{shard: s, parts: parts, spend: s.spend.take(), counter: w.nextCounter()}
}

// flush packs and journals one report's worth of finished parts.
func (w *Worker) flush(ctx context.Context) {
	batch := w.take()
	w.report(ctx, batch[0].bundle.shard, batch)
}

// report packs and journals finished parts of a shard, and what was spent on it.
func (w *Worker) report(ctx context.Context, s *shard, parts []*part) {
	d := w.draft(s, parts)
	w.flushes++
	w.spawn(func() event {
		p, err := w.journal(ctx, d)
		return func(now time.Time) {
			w.flushes--
			if err != nil {
				w.unflushed(d, err, now)
				return
			}
			w.journalled(p)
		}
	})
}

// nextCounter numbers this agent's reports. The store counts the starts.
func (w *Worker) nextCounter() uint64 {
	w.counter++
	return w.o.Store.Boot()<<32 | uint64(w.counter)
}

// journalled takes a report that is in the journal. The outcomes' bytes lie in its pack now.
func (w *Worker) journalled(p *pending) {
	for _, part := range p.parts {
		part.packed = nil
	}
	w.reports[p.offer.Envelope.ID()] = p
	w.pushAt = time.Time{}
}

// unflushed puts parts back whose pack or report could not be stored, behind what else is finished, to try
// again a little later. After a while they are discarded, so that their leases do not keep the units from
// running elsewhere.
func (w *Worker) unflushed(d draft, err error, now time.Time) {
	w.unsaid(d, err, now)
	s, batch := d.shard, d.parts
	switch {
	case len(batch) == 0:
	case w.shards[s.id] != s:
		// The job has ended meanwhile.
	case errors.Is(err, errUnfit):
		w.fault(s.id.Job, "cannot report units", err, now)
	case !w.stopping && w.failedFor(batch, now) >= flushPatience:
		w.fault(s.id.Job, "cannot store a pack", err, now)
	default:
		w.log.Debug("cannot store a pack, trying again", "shard", s.id, "parts", len(batch), "err", err)
		w.finished = append(w.finished, batch...)
		for _, p := range batch {
			w.bytes += p.bytes
		}
		w.flushRest = now.Add(flushRetry)
		return
	}
	for _, p := range batch {
		p.lose(p.bundle)
		w.settle(p)
	}
}

// failedFor notes that a batch could not be stored, and returns for how long one of it could not.
func (w *Worker) failedFor(batch []*part, now time.Time) time.Duration {
	longest := time.Duration(0)
	for _, p := range batch {
		if p.failed.IsZero() {
			p.failed = now
		}
		longest = max(longest, now.Sub(p.failed))
	}
	return longest
}

// journal packs outcomes, stores the pack at its holders, signs a report and writes it into the journal.
func (w *Worker) journal(ctx context.Context, d draft) (*pending, error) {
	report, err := w.pack(d)
	if err != nil {
		return nil, err
	}
	if len(d.parts) == 0 {
		return w.write(ctx, report, nil, nil)
	}
	failpoint.Hit("worker.packed")
	receipts, err := w.o.Blobs.Place(ctx, packOf(report), report.Pack, w.o.Members())
	if err != nil {
		return nil, err
	}
	failpoint.Hit("worker.placed")
	return w.write(ctx, report, receipts, d.parts)
}

// pack stores the outcomes of parts, if there are any, in one local blob and returns the report.
func (w *Worker) pack(d draft) (*record.Report, error) {
	s := d.shard
	report := &record.Report{
		Job: s.id.Job, Shard: s.id.Shard, Author: w.o.Self, Counter: d.counter,
		Runtime: w.o.Runtime, Platform: w.o.Platform,
		LostRuns: d.spend.runs, Lost: d.spend.lost, Overhead: d.spend.overhead, Hour: record.HourOf(time.Now()),
	}
	if len(d.parts) == 0 {
		return report, nil
	}
	var outcomes []record.UnitOutcome
	for _, p := range d.parts {
		outcomes = append(outcomes, p.packed...)
		report.Bundles = append(report.Bundles, record.BundleReport{
			Bundle: p.bundle.number, Attempt: p.bundle.attempt, Units: p.units,
		})
	}
	pack := record.EncodePack(outcomes)
	report.Pack = jobs.Blob{Digest: jobs.DigestOf(pack), Size: int64(len(pack))}
	return report, w.o.Dir.Put(blobs.Claim{Job: report.Job, Kind: blobs.Own}, report.Pack, bytes.NewReader(pack))
}

// packOf is why others keep a report's pack.
func packOf(r *record.Report) blobs.Claim { return blobs.Claim{Job: r.Job, Kind: blobs.Pack} }

// write signs a report and writes it into the journal.
func (w *Worker) write(ctx context.Context, r *record.Report, receipts []record.Envelope, batch []*part) (*pending, error) {
	p := &pending{shard: jobs.ShardID{Job: r.Job, Shard: r.Shard}, parts: batch, answers: map[jobs.AgentID]bool{}}
	p.offer = records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeReport, r.Encode(), w.o.Key), Receipts: receipts},
		Chains: [][][]byte{w.o.Chain()},
	}
	_, refused, err := w.o.Store.Add(ctx, []records.Offer{p.offer}, false)
	if err != nil {
		return nil, err
	}
	if len(refused) > 0 {
		return nil, jobs.Errorf(jobs.Internal, "%w: %s", errUnfit, refused[0].Reason)
	}
	failpoint.Hit("worker.journalled")
	return p, nil
}
