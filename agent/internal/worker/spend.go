package worker

import (
	"context"
	"errors"
	"slices"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

const (
	// meterEvery is how often the agent's own CPU time is read at most.
	meterEvery = time.Second
	// leaveAfter is how long this agent holds nothing of a shard before it says in a report of its own what was spent and
	// is in none. Until then it may be lent more, of which there will be a report anyway.
	leaveAfter = 5 * time.Second
	// maxAsides bounds the runs without a result that this agent tells of one by one, and its reports of nothing else, of one
	// shard in the life of its job: each takes of what it may say of the shard, and its results must have room. Of more runs
	// only the time is told that is certainly lost.
	maxAsides = 512
	// asideBytes bounds what a report has of runs without a result, in bytes: see reportBytes.
	asideBytes = 1 << 18
	// worthReport is how much CPU time is worth such a report.
	worthReport = 100 * time.Millisecond
)

// spend is what no report has said yet of CPU time that gave no result.
type spend struct {
	runs           []record.LostRun // from whose checkpoints others can go on
	lost, overhead time.Duration
}

func (s *spend) add(o spend) {
	s.runs = append(o.runs, s.runs...)
	s.lost += o.lost
	s.overhead += o.overhead
}

// worthIt reports whether it is worth a report of its own.
func (s *spend) worthIt() bool {
	sum := s.lost + s.overhead
	for _, r := range s.runs {
		sum += r.CPU
	}
	return sum >= worthReport
}

// take takes out what one report may say.
func (s *spend) take() spend {
	t := spend{lost: min(s.lost, record.MaxSpend).Truncate(time.Microsecond), overhead: min(s.overhead, record.MaxSpend).Truncate(time.Microsecond)}
	s.lost -= t.lost
	s.overhead -= t.overhead
	size := 0
	s.runs = slices.DeleteFunc(s.runs, func(r record.LostRun) bool {
		more := unitBytes + len(r.Lineage)*originBytes
		fits := len(t.runs) < record.MaxLostRuns && size+more <= asideBytes && !slices.ContainsFunc(t.runs, func(o record.LostRun) bool {
			return o.Unit == r.Unit && o.Attempt == r.Attempt // a report says one thing of an attempt
		})
		if fits {
			t.runs = append(t.runs, r)
			size += more
		}
		return fits
	})
	return t
}

// meter reads how much CPU time the agent itself has used, and shares what it was since the last reading among the shards
// whose units run, by slots, or where none runs among those of which anything is held. Without work nothing is read.
func (w *Worker) meter(now time.Time, last bool) {
	begins := w.metered.IsZero()
	switch {
	case w.o.Overhead == nil || begins && !w.holds() || !begins && !last && now.Sub(w.metered) < meterEvery:
		return
	case begins:
		w.metered, w.read, w.sharing = now, w.o.Overhead(), w.shares()
		return
	}
	read := w.o.Overhead()
	left, total := max(0, read-w.read), int64(0)
	w.metered, w.read = now, read
	if w.holds() {
		w.sharing = w.shares()
	} else {
		w.metered = time.Time{}
	}
	for _, n := range w.sharing {
		total += n
	}
	for s, n := range w.sharing {
		part := time.Duration(int64(left) * n / total)
		left, total = left-part, total-n
		s.spend.overhead += part
	}
}

// holds reports whether this agent has anything to do.
func (w *Worker) holds() bool {
	for _, s := range w.shards {
		if len(s.bundles) > 0 {
			return true
		}
	}
	return len(w.running) > 0
}

// shares returns who shares what the agent itself uses.
func (w *Worker) shares() map[*shard]int64 {
	shares := map[*shard]int64{}
	for r := range w.running {
		shares[r.shard]++
	}
	if len(shares) == 0 {
		for _, s := range w.shards {
			if len(s.bundles) > 0 {
				shares[s] = 1
			}
		}
	}
	return shares
}

// lose takes what a run used that ended without a result, or with one that nobody wants. While a checkpoint of it is on
// its way it is not known from where others can go on.
func (w *Worker) lose(r *run, used time.Duration) {
	switch sv := r.saver; {
	case sv == nil:
		r.shard.spend.lost += used
	case sv.storingNow():
		sv.owes = used
	default:
		w.lost(r.shard, sv, used)
	}
}

// lost is lose for a run that might have given checkpoints.
func (w *Worker) lost(s *shard, sv *saver, used time.Duration) {
	s.lostRun(record.LostRun{Unit: sv.unit.Unit, Attempt: sv.bundle.attempt, CPU: used, Lineage: sv.lineage, Kept: sv.kept()})
}

// kept returns the CPU time of the unit at the newest checkpoint of this run; 0: it left none.
func (sv *saver) kept() time.Duration {
	if n, at, _ := sv.last(); !at.IsZero() {
		return n.CPU
	}
	return 0
}

// lose takes what units used that ended in a part whose results nobody will see.
func (p *part) lose(b *bundle) {
	for _, u := range p.units {
		b.shard.lostRun(record.LostRun{Unit: u.Unit, Attempt: b.attempt, CPU: u.Times.CPU, Lineage: u.Lineage, Kept: p.kept[u.Unit]})
	}
}

// lostRun notes a run without a result. From one that left no checkpoint nobody goes on: it needs no line of its own.
func (s *shard) lostRun(r record.LostRun) {
	r.CPU, r.Kept = r.CPU.Truncate(time.Microsecond), r.Kept.Truncate(time.Millisecond)
	gave := max(0, r.Kept-r.Lineage.Before())
	if gave == 0 || s.asides >= maxAsides {
		s.spend.lost += max(0, r.CPU-gave)
		return
	}
	s.asides++
	s.spend.runs = append(s.spend.runs, r)
}

// asides returns how much this agent has said of a shard beside results, before it was restarted as well.
func (w *Worker) asides(id jobs.ShardID) (n int) {
	if err := w.o.Ledger(id, func(l *ledger.Ledger) { n = l.Asides(w.o.Self) }); err != nil {
		w.log.Debug("cannot look up what was said of a shard: the job has ended", "shard", id, "err", err)
	}
	return n
}

// leaveDue returns when a report has to say what was spent on a shard that this agent holds nothing of any more.
func (w *Worker) leaveDue(s *shard, now time.Time) time.Time {
	if len(s.bundles) > 0 || !s.spend.worthIt() || s.asides >= maxAsides || w.flushes >= maxFlushes || w.o.Runnable(s.id.Job) != nil {
		return never(now)
	}
	if w.leaving {
		return w.flushRest
	}
	return later(s.heldAt.Add(leaveAfter), w.flushRest)
}

// leaveShards says what was spent on shards that this agent has left.
func (w *Worker) leaveShards(ctx context.Context, now time.Time) {
	for _, s := range w.shards {
		if len(s.bundles) > 0 {
			s.heldAt = now
		}
		if !now.Before(w.leaveDue(s, now)) {
			s.asides++
			w.report(ctx, s, nil)
		}
	}
}

// unsaid takes back what a report should have said that was not written. What this agent's own store refuses is dropped.
func (w *Worker) unsaid(d draft, err error, now time.Time) {
	if errors.Is(err, errUnfit) {
		w.log.Warn("cannot report what gave no result", "shard", d.shard.id, "runs", len(d.spend.runs), "cpu", d.spend.lost, "err", err)
		return
	}
	d.shard.spend.add(d.spend)
	if len(d.parts) == 0 {
		w.flushRest = now.Add(flushRetry)
	}
}
