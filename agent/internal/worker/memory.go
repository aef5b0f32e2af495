package worker

import (
	"math"
	"slices"
	"time"
)

// memoryLeft is how many bytes the offer leaves beside the runs that count. A run counts with all that its job's manifest
// lets it have, since it may take that at any time.
func (w *Worker) memoryLeft(counts func(*run) bool) uint64 {
	left := w.offered.Load().Memory
	if left == 0 {
		return math.MaxUint64
	}
	for r := range w.running {
		if counts(r) {
			left -= min(left, r.shard.memory())
		}
	}
	return left
}

// memory is how many bytes one of a shard's units may have.
func (s *shard) memory() uint64 { return max(1, s.job.Manifest.Memory) }

// fits reports whether one more unit of a shard fits beside all that runs and stands frozen.
func (w *Worker) fits(s *shard) bool {
	return s.memory() <= w.memoryLeft(func(*run) bool { return true })
}

// fitSoon is how many units of a shard fit beside what does not end at once: what a slot will be free for.
func (w *Worker) fitSoon(s *shard, now time.Time) int {
	left := w.memoryLeft(func(r *run) bool { return r.frozen.Load() || r.remains(now) >= lowWater })
	return int(min(left/s.memory(), math.MaxInt32))
}

// crowded reports whether memory keeps a shard from more slots, and it has units enough for those that it leaves. Others
// may have the rest: such a shard is not asked for more, and what it has lets nobody else wait.
func (w *Worker) crowded(s *shard, now time.Time) bool {
	fit := w.fitSoon(s, now)
	if fit >= w.slots() {
		return false
	}
	unit := time.Duration(0)
	if p := w.programs[s.id.Job]; p != nil {
		unit = p.unit
	}
	return len(s.queue) >= fit && (unit == 0 || len(s.queue) >= fit*int(lowWater/unit))
}

// keepToMemory gives units back where those that go on may have more memory than the offer leaves: those that began last
// first. It returns what they leave for frozen ones, which need no more than they have.
func (w *Worker) keepToMemory(most uint64, now time.Time) (left uint64) {
	var going []*run
	for r := range w.running {
		if !r.frozen.Load() {
			going = append(going, r)
		}
	}
	slices.SortFunc(going, func(a, b *run) int { return a.since.Compare(b.since) })
	for _, r := range going {
		t := r.current.Load()
		switch need := r.shard.memory(); {
		case t.bundle.dropped: // it ends just now
		case need <= most:
			most -= need
		default:
			w.log.Info("a unit may have more memory than there is for it, giving it back", "job", r.shard.id.Job, "unit", t.unit)
			w.handBack(r.shard, func(b *bundle) bool { return b == t.bundle }, now)
		}
	}
	return most
}

// giveBackTooLarge gives those units back that wait and fit into no slot any more.
func (w *Worker) giveBackTooLarge(most uint64, now time.Time) {
	runs := map[*bundle]bool{}
	for r := range w.running {
		runs[r.current.Load().bundle] = true
	}
	for _, s := range w.shards {
		if s.memory() > most {
			w.handBack(s, func(b *bundle) bool { return !runs[b] }, now)
		}
	}
}
