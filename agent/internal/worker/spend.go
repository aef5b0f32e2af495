package worker

import (
	"context"
	"errors"
	"time"

	"idlegrid/jobs/record"
)

const (
	// meterEvery is how often the agent's own CPU time is read at most.
	meterEvery = time.Second
	// leaveAfter is how long this agent holds nothing of a shard before it says in a report of its own what was spent and
	// is in none. Until then it may be lent more, of which there will be a report anyway.
	leaveAfter = 5 * time.Second
	// worthReport is how much CPU time is worth such a report.
	worthReport = 100 * time.Millisecond
)

// spend is CPU time that no report has yet.
type spend struct{ lost, overhead time.Duration }

func (s *spend) add(o spend) {
	s.lost += o.lost
	s.overhead += o.overhead
}

// take takes out what one report may say.
func (s *spend) take() spend {
	t := spend{min(s.lost, record.MaxSpend).Truncate(time.Microsecond), min(s.overhead, record.MaxSpend).Truncate(time.Microsecond)}
	s.lost -= t.lost
	s.overhead -= t.overhead
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

// lose counts what a run used that ended without a result, or with one that nobody wants: all but what others can go on
// from. While a checkpoint of it is on its way that is not known.
func (w *Worker) lose(r *run, used time.Duration, why error) {
	sv := r.saver
	switch {
	case sv == nil:
		r.shard.spend.lost += used
	case sv.storingNow():
		sv.owes, sv.why = used, why
	default:
		r.shard.spend.lost += w.lostOf(sv, used, why)
	}
}

func (w *Worker) lostOf(sv *saver, used time.Duration, why error) time.Duration {
	return max(0, used-max(0, w.keptCPU(sv, why)-sv.before)) + sv.passedOver()
}

// keptCPU returns how much CPU time a unit had taken at the newest checkpoint from which others can go on. Where a
// steward took the unit away, or may have, it went on from one that some steward knew.
func (w *Worker) keptCPU(sv *saver, why error) time.Duration {
	if !errors.Is(why, errDropped) && !errors.Is(why, errSlept) {
		if n, at, _ := sv.last(); !at.IsZero() {
			return n.CPU
		}
		return sv.before
	}
	cpu := sv.before
	if o := w.own[sv.unit]; o != nil {
		for _, t := range o.told {
			if t.what.Attempt == sv.bundle.attempt {
				cpu = max(cpu, t.what.CPU)
			}
		}
	}
	return cpu
}

// cpuOf returns the CPU time of units that ended here.
func cpuOf(units []record.UnitReport) (sum time.Duration) {
	for _, u := range units {
		sum += u.Times.CPU
	}
	return sum
}

// leaveDue returns when a report has to say what was spent on a shard that this agent holds nothing of any more.
func (w *Worker) leaveDue(s *shard, now time.Time) time.Time {
	if len(s.bundles) > 0 || s.spend.lost+s.spend.overhead < worthReport || w.flushes >= maxFlushes || w.o.Runnable(s.id.Job) != nil {
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
			w.report(ctx, s, nil)
		}
	}
}

// unsaid takes back what a report should have said that was not written.
func (w *Worker) unsaid(d draft, err error, now time.Time) {
	switch {
	case len(d.parts) > 0:
		d.shard.spend.add(d.spend)
	case errors.Is(err, errUnfit):
		w.log.Warn("cannot report CPU time that came to nothing", "shard", d.shard.id, "err", err)
	default:
		d.shard.spend.add(d.spend)
		w.flushRest = now.Add(flushRetry)
	}
}
