package worker

import (
	"slices"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

const mib = 1 << 20

// DropFrozen notes what frozen units may have.
func (f *freezer) DropFrozen(most uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frozenMost = append(f.frozenMost, most)
}

// TestMemoryShrinks: of what goes on the youngest goes back that does not fit any more, frozen units may have the rest, and
// what is too large for any slot does not wait here.
func TestMemoryShrinks(t *testing.T) {
	for name, test := range map[string]struct {
		offer  Offer
		going  []uint64
		frozen []uint64
		queue  int
		rest   uint64 // for frozen units
	}{
		"enough":                        {Offer{Slots: 2, Memory: 200 * mib}, []uint64{0, 1}, nil, 4, 0},
		"for one of two":                {Offer{Slots: 2, Memory: 199 * mib}, []uint64{0}, nil, 4, 99 * mib},
		"for none":                      {Offer{Slots: 2, Memory: 99 * mib}, nil, nil, 0, 99 * mib},
		"for the one that goes on":      {Offer{Slots: 1, Memory: 130 * mib}, []uint64{0}, []uint64{1}, 4, 30 * mib},
		"all frozen, with little of it": {Offer{Memory: 10 * mib}, nil, []uint64{0, 1}, 0, 10 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			d, f := newOffice(t, 1)
			d.s.job.Manifest.Memory = 100 * mib
			for r := range d.running {
				r.since = d.now.Add(time.Duration(r.current.Load().unit) * time.Second)
			}
			d.mustOffer(t, test.offer)
			var going, frozen []uint64
			for r := range d.running {
				switch task := r.current.Load(); {
				case task.bundle.dropped:
				case r.frozen.Load():
					frozen = append(frozen, task.unit)
				default:
					going = append(going, task.unit)
				}
			}
			slices.Sort(going)
			slices.Sort(frozen)
			if !slices.Equal(going, test.going) || !slices.Equal(frozen, test.frozen) || len(d.s.queue) != test.queue {
				t.Errorf("%v go on, %v stand frozen, %d wait; expected %+v", going, frozen, len(d.s.queue), test)
			}
			if !slices.Equal(f.frozenMost, []uint64{test.rest}) {
				t.Errorf("frozen units may have %v, expected %d", f.frozenMost, test.rest)
			}
			if d.heed(d.now); len(f.frozenMost) != 1 {
				t.Error("the Runner is asked again without another offer")
			}
		})
	}
}

// TestThawedForMemory: one that is let go on, in the place of another, may not fit.
func TestThawedForMemory(t *testing.T) {
	d, f := newOffice(t, 1)
	d.s.job.Manifest.Memory = 100 * mib
	d.mustOffer(t, Offer{Slots: 1, Memory: 150 * mib})
	f.tell["1"](false)
	if d.heed(d.now); len(d.s.bundles) != 5 || d.s.bundles[0] == nil && d.s.bundles[1] == nil {
		t.Errorf("%d bundles are held", len(d.s.bundles))
	}
}

// TestMemoryStarvesNobody: a job of which no more units fit is not asked for, says why, and lets others have the slots.
func TestMemoryStarvesNobody(t *testing.T) {
	for name, test := range map[string]struct {
		memory uint64 // of the offer
		large  uint64 // of a unit of the first job; one of the other has 10 MiB
		runs   int    // units of the first job
		unit   time.Duration
		queue  int
		asked  bool   // the first job
		hungry bool   // for whatever
		why    string // the first job does not run
	}{
		"too large":             {memory: 100, large: 200, hungry: true, why: "memory: a unit of job large may have 200 MiB, and 100 MiB are left for units here"},
		"as large as it may be": {memory: 100, large: 100, asked: true, hungry: true},
		"one runs, of which one fits": {
			memory: 100, large: 60, runs: 1, hungry: true, why: "memory: a unit of job large may have 60 MiB, and 40 MiB are left for units here",
		},
		"one waits behind it":       {memory: 100, large: 60, runs: 1, queue: 1, hungry: true, why: "memory: a unit"},
		"one waits that fits":       {memory: 100, large: 60, queue: 1, hungry: true},
		"one runs and ends at once": {memory: 100, large: 60, runs: 1, unit: time.Millisecond, asked: true, hungry: true, why: "memory: a unit"},
		"short ones wait behind it": {memory: 100, large: 60, runs: 1, unit: time.Millisecond, queue: 300, hungry: true, why: "memory: a unit"},
		"two fit":                   {memory: 100, large: 50, runs: 1, asked: true, hungry: true},
		"two run":                   {memory: 100, large: 50, runs: 2, unit: time.Hour, why: "memory: a unit"},
		"no limit":                  {large: 4096, asked: true, hungry: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(1000, 1)
			d.s.job.Manifest.Memory, d.s.job.Manifest.Name, d.s.open = test.large*mib, "large", 1000
			d.o.Members = oneSteward
			other := &shard{
				id:      jobs.ShardID{Job: jobs.JobID{8}},
				job:     records.Job{ID: jobs.JobID{8}, Manifest: &manifest.Manifest{Units: 9, Bundle: 1, Memory: 10 * mib, Expires: d.now.Add(time.Hour)}},
				bundles: map[uint64]*bundle{}, answered: d.now,
			}
			d.shards[other.id] = other
			d.mustOffer(t, Offer{Slots: 2, Memory: test.memory * mib})
			d.programs[d.s.id.Job].unit = test.unit
			for range test.runs {
				r := &run{shard: d.s, program: d.programs[d.s.id.Job], since: d.now}
				r.current.Store(&task{bundle: &bundle{shard: d.s}})
				d.running[r] = struct{}{}
			}
			d.lend(0, uint32(test.queue))
			due := func(s *shard) bool { return !d.workDue(s, d.now).After(d.now) }
			if got := d.hungry(d.now); got != test.hungry {
				t.Errorf("hungry: %t", got)
			}
			if got := due(d.s); got != test.asked {
				t.Errorf("asked for the first job: %t", got)
			}
			if got := due(other); got != test.hungry {
				t.Errorf("asked for the other job: %t", got)
			}
			if why := d.whyIdle(d.s, d.now); test.why == "" && strings.HasPrefix(why, "memory") || !strings.HasPrefix(why, test.why) {
				t.Errorf("it does not run because of %q", why)
			}
		})
	}
}
