package worker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// lastCheckpoint, lastFlush, lastPack and lastWord bound what a worker does after its context ended: how long
	// units have for a last checkpoint and its holders to take it, how long holders have to answer, until when another
	// pack is begun, and how long stewards have. The first, the last two and one pack's time on the disk are all that
	// a stop takes.
	lastCheckpoint = 2 * time.Second
	lastFlush      = 900 * time.Millisecond
	lastPack       = 1200 * time.Millisecond
	lastWord       = 800 * time.Millisecond
	// lastSpare is what packs have more of the time that no checkpoint needed.
	lastSpare = 800 * time.Millisecond
)

// stop has running units give a last checkpoint and cancels them, joins every goroutine, journals what is finished and
// says goodbye to stewards.
func (w *Worker) stop(ctx context.Context) {
	w.stopping = true
	begun := time.Now()
	w.saveLast(ctx)
	spare := max(0, min(lastSpare, lastCheckpoint-time.Since(begun)))
	w.endSaving()
	for r := range w.running {
		r.cancel(errStopping)
	}
	for _, p := range w.programs {
		if p.loading {
			p.cancel()
		}
	}
	done := make(chan struct{})
	go func() {
		w.tasks.Wait()
		close(done)
	}()
	for waiting := true; waiting; {
		select {
		case e := <-w.events:
			e(time.Now())
		case <-done:
			waiting = false
		}
	}
	ctx = context.WithoutCancel(ctx)
	w.meter(time.Now(), true)
	w.flushLast(ctx, spare)
	w.farewell(ctx)
}

// saveLast asks long units for a checkpoint and waits a little until those are at their holders. Meanwhile what is
// finished goes the way that it always goes.
func (w *Worker) saveLast(ctx context.Context) {
	waits := map[*saver]int{}
	for r := range w.running {
		if sv := r.saver; sv != nil && !r.frozen.Load() { // nothing is thawed for a checkpoint
			_, at, taken := sv.last()
			if time.Since(later(at, sv.begun)) < worthSaving {
				continue
			}
			waits[sv] = taken
			select {
			case sv.now <- struct{}{}:
			default: // it was asked already
			}
		}
	}
	ctx = context.WithoutCancel(ctx)
	for w.finishAll(time.Now()); len(waits) > 0 && len(w.finished) > 0 && w.flushes < maxFlushes; {
		w.flush(ctx)
	}
	timer := time.NewTimer(lastCheckpoint)
	defer timer.Stop()
	for len(waits) > 0 {
		select {
		case e := <-w.events:
			e(time.Now())
		case <-timer.C:
			w.log.Info("stopping without the last checkpoint of some units", "units", len(waits))
			return
		}
		maps.DeleteFunc(waits, func(sv *saver, taken int) bool {
			_, _, now := sv.last()
			return sv.over || now > taken || sv.bundle.dropped
		})
	}
}

// flushLast journals what is finished, of unfinished bundles too. Where holders do not answer it does without
// their receipts: the journal is offered at the next start, and mended then.
func (w *Worker) flushLast(ctx context.Context, spare time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, lastFlush+spare)
	defer cancel()
	w.finishAll(time.Now())
	until := time.Now().Add(lastPack + spare)
	for len(w.finished) > 0 {
		if !time.Now().Before(until) {
			w.log.Warn("finished units are lost with this stop: the disk is too slow", "parts", len(w.finished))
			return
		}
		batch := w.take()
		w.reportLast(ctx, w.draft(batch[0].bundle.shard, batch))
	}
	for _, s := range w.shards {
		if s.spend.worthIt() && s.asides < maxAsides && w.o.Runnable(s.id.Job) == nil && time.Now().Before(until) {
			w.reportLast(ctx, w.draft(s, nil))
		}
	}
}

// reportLast journals a report, with the receipts that can be had.
func (w *Worker) reportLast(ctx context.Context, d draft) {
	report, err := w.pack(d)
	if err == nil {
		var receipts []record.Envelope
		if len(d.parts) > 0 {
			var short error
			if receipts, short = w.o.Blobs.Place(ctx, packOf(report), report.Pack, w.o.Members()); short != nil {
				w.log.Info("reporting without enough holders", "shard", d.shard.id, "err", short)
			}
		}
		var p *pending
		if p, err = w.write(context.WithoutCancel(ctx), report, receipts, d.parts); err == nil {
			w.journalled(p)
		}
	}
	if err != nil {
		w.log.Warn("a last report is lost with this stop, and the finished units in it", "shard", d.shard.id, "parts", len(d.parts), "err", err)
	}
}

// farewell offers the last reports and gives all leases back, so that others need not wait for their end.
func (w *Worker) farewell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, lastWord)
	defer cancel()
	var calls sync.WaitGroup
	for _, l := range w.loads(time.Now()) {
		calls.Go(func() {
			if _, err := w.offer(ctx, l); err != nil {
				w.log.Info("a steward gets the last reports later", "steward", l.to.ID, "err", err)
			}
		})
	}
	calls.Wait()
	members := w.o.Members()
	notes := map[jobs.ShardID][]*own{}
	for id, s := range w.shards {
		notes[id] = w.untold(s, s.lender, time.Now())
		to, ok := w.aside(s)
		list := w.untold(s, to.ID, time.Now())
		if !ok || len(list) == 0 {
			continue
		}
		calls.Go(func() {
			req := &gridv1.ExchangeRequest{Shard: records.ShardToProto(id), Aside: true}
			tell(req, list)
			if _, err := w.call(ctx, id, to, req); err != nil {
				w.log.Info("a steward does not hear of the last checkpoints", "shard", id, "steward", to.ID, "err", err)
			}
		})
	}
	for _, s := range w.shards {
		i := slices.IndexFunc(members, func(m peer.Member) bool { return m.ID == s.lender })
		if i < 0 || len(s.bundles) == 0 && !s.changed && len(notes[s.id]) == 0 {
			continue
		}
		calls.Go(func() {
			req := &gridv1.ExchangeRequest{Shard: records.ShardToProto(s.id)}
			tell(req, notes[s.id])
			if _, err := w.call(ctx, s.id, members[i], req); err != nil {
				w.log.Info("cannot give leases back", "shard", s.id, "steward", s.lender, "err", err)
			}
		})
	}
	calls.Wait()
}
