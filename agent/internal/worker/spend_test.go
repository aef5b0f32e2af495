package worker

import (
	"crypto/ed25519"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// clock is the CPU time that an agent has used.
type clock struct {
	used  time.Duration
	looks int
}

func (c *clock) read() time.Duration {
	c.looks++
	return c.used
}

// another adds a second shard to a desk.
func (d *desk) another() *shard {
	id := jobs.ShardID{Job: jobs.JobID{8}}
	s := &shard{id: id, job: records.Job{ID: id.Job, Manifest: d.s.job.Manifest}, bundles: map[uint64]*bundle{}, answered: d.now}
	d.shards[id] = s
	return s
}

func (d *desk) runs(s *shard, n int) {
	for range n {
		d.running[&run{shard: s}] = struct{}{}
	}
}

// TestMeter: what the agent itself uses while work is held is shared among the shards whose units run, by slots, else
// among those of which anything is held. It is read once a second at most, and not at all while nothing is held.
func TestMeter(t *testing.T) {
	d := newDesk(10, 1)
	var cpu clock
	d.o.Overhead = cpu.read
	other := d.another()
	look := func(after, used time.Duration) {
		d.now, cpu.used = d.now.Add(after), cpu.used+used
		d.meter(d.now, false)
	}
	expect := func(when string, looks int, one, two time.Duration) {
		t.Helper()
		if cpu.looks != looks || d.s.spend.overhead != one || other.spend.overhead != two {
			t.Errorf("%s: read %d times, %s and %s of overhead, expected %d, %s and %s", when, cpu.looks, d.s.spend.overhead, other.spend.overhead, looks, one, two)
		}
	}
	for range 10 {
		look(time.Minute, time.Second)
	}
	expect("nothing is held", 0, 0, 0)
	d.lend(0, 1)
	look(time.Minute, time.Second)
	expect("the first is held", 1, 0, 0)
	for range 9 {
		look(100*time.Millisecond, 10*time.Millisecond)
	}
	expect("within a second", 1, 0, 0)
	look(100*time.Millisecond, 10*time.Millisecond)
	expect("after a second", 2, 100*time.Millisecond, 0)
	other.bundles[0] = &bundle{shard: other}
	look(time.Second, 60*time.Millisecond)
	expect("both are held", 3, 130*time.Millisecond, 30*time.Millisecond)
	d.runs(d.s, 1)
	d.runs(other, 2)
	look(time.Second, 90*time.Millisecond)
	expect("units run", 4, 160*time.Millisecond, 90*time.Millisecond)
	clear(d.running)
	clear(other.bundles)
	d.drop(d.s, 0)
	look(500*time.Millisecond, 30*time.Millisecond)
	expect("nothing is held since a moment ago", 4, 160*time.Millisecond, 90*time.Millisecond)
	look(500*time.Millisecond, 30*time.Millisecond)
	expect("the last second of work", 5, 180*time.Millisecond, 130*time.Millisecond)
	for range 10 {
		look(time.Minute, time.Second)
	}
	expect("nothing is held any more", 5, 180*time.Millisecond, 130*time.Millisecond)
}

// TestLose: of a run without a result all is lost but what others can go on from. The unit had taken ten seconds when the
// run began, and twenty more in it.
func TestLose(t *testing.T) {
	const before, used = 10 * time.Second, 20 * time.Second
	at := func(seconds uint64) *records.Note {
		c := &record.Checkpoint{
			Job: jobs.JobID{7}, Sequence: seconds, CPU: time.Duration(seconds) * time.Second, Runtime: "r", Parts: []jobs.Blob{{Digest: jobs.Digest{1}, Size: 3}},
		}
		n, err := records.NewNote(c, nil, ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), [][]byte{{1}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	keeps := func(seconds uint64) func(*Worker, *saver) {
		return func(_ *Worker, sv *saver) { sv.notes, sv.at = []*records.Note{at(seconds)}, time.Now() }
	}
	for name, test := range map[string]struct {
		change func(*Worker, *saver)
		why    error
		want   time.Duration
	}{
		"no checkpoint":                          {func(*Worker, *saver) {}, errOwner, used},
		"one of an earlier run":                  {func(_ *Worker, sv *saver) { sv.notes = []*records.Note{at(25)} }, errOwner, used},
		"one of this run":                        {keeps(25), errOwner, 5 * time.Second},
		"one that cost more than all":            {keeps(31), errStopping, 0},
		"taken away, and no steward knew of one": {keeps(25), errDropped, used},
		"taken away, and a steward knew of one": {func(w *Worker, sv *saver) {
			keeps(25)(w, sv)
			w.own[sv.unit] = &own{shard: sv.shard, told: map[jobs.AgentID]telling{{1}: {what: at(15)}, {2}: {what: at(12)}}}
		}, errSlept, 15 * time.Second},
		"others were further, and may go on from there": {func(_ *Worker, sv *saver) { sv.missed = time.Second }, errOwner, used},
		"others were further, and this one's is newer": {func(w *Worker, sv *saver) {
			keeps(25)(w, sv)
			sv.missed = time.Second
		}, errOwner, 6 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(10, 1)
			d.lend(0, 1)
			sv := &saver{w: d.Worker, unit: jobs.UnitID{Job: d.s.id.Job}, shard: d.s.id, bundle: d.s.bundles[0], before: before}
			test.change(d.Worker, sv)
			d.lose(&run{shard: d.s, saver: sv}, used, test.why)
			if got := d.s.spend.lost; got != test.want {
				t.Errorf("%s are lost, expected %s", got, test.want)
			}
		})
	}
	t.Run("a checkpoint is on its way", func(t *testing.T) {
		d := newDesk(10, 1)
		d.lend(0, 1)
		sv := &saver{w: d.Worker, unit: jobs.UnitID{Job: d.s.id.Job}, shard: d.s.id, bundle: d.s.bundles[0], before: before, busy: true}
		d.lose(&run{shard: d.s, saver: sv}, used, errOwner)
		if d.s.spend.lost != 0 {
			t.Error("something is lost before it is known what")
		}
		keeps(28)(d.Worker, sv)
		for range 2 {
			d.noted(sv, sv.notes)
		}
		if got := d.s.spend.lost; got != 2*time.Second {
			t.Errorf("%s are lost", got)
		}
	})
	t.Run("short units", func(t *testing.T) {
		d := newDesk(10, 1)
		d.lose(&run{shard: d.s}, used, errOwner)
		if d.s.spend.lost != used {
			t.Errorf("%s are lost", d.s.spend.lost)
		}
	})
}

// TestRunsWithoutAResult: whatever ends a run without a result that anybody wants, what it used is lost; what gives a
// result is not.
func TestRunsWithoutAResult(t *testing.T) {
	for name, test := range map[string]struct {
		err     error
		stopped bool
		dropped bool
		want    time.Duration
	}{
		"it ended":                      {nil, false, false, 0},
		"it ended, and nobody wants it": {nil, false, true, time.Second},
		"the lease was lost":            {errDropped, true, true, time.Second},
		"its memory was needed":         {executor.ErrDropped, false, false, time.Second},
		"stopped for another":           {errOwner, true, false, time.Second},
		"this agent's own fault":        {errUnstorable, false, false, time.Second},
	} {
		d := newDesk(10, 1)
		d.lend(0, 1)
		b := d.s.bundles[0]
		r := &run{shard: d.s, program: d.programs[d.s.id.Job], ahead: make(chan task)}
		close(r.ahead)
		got := result{task: d.s.queue[0], err: test.err}
		got.Times.CPU, d.s.queue = time.Second, nil
		if test.dropped {
			d.drop(d.s, 0)
		}
		d.ran(r, []result{got}, test.stopped, d.now)
		if d.s.spend.lost != test.want {
			t.Errorf("%s: %s are lost, expected %s", name, d.s.spend.lost, test.want)
		}
		if kept := cpuOf(b.ended.units) + cpuOf(allUnits(d.finished)); kept+d.s.spend.lost != time.Second {
			t.Errorf("%s: %s are kept, and %s lost", name, kept, d.s.spend.lost)
		}
	}
}

func allUnits(parts []*part) (out []record.UnitReport) {
	for _, p := range parts {
		out = append(out, p.units...)
	}
	return out
}

// TestLeaveDue: an agent that holds nothing of a shard any more says what it spent there if that is worth a record, the
// job lives, and nothing came of it for a while.
func TestLeaveDue(t *testing.T) {
	d := newDesk(10, 1)
	d.s.heldAt = d.now
	due := func(at time.Duration) bool { return !d.now.Add(at).Before(d.leaveDue(d.s, d.now.Add(at))) }
	expect := func(when string, want bool) {
		t.Helper()
		if due(leaveAfter-1) || due(leaveAfter) != want {
			t.Errorf("%s: due %v, %v", when, due(leaveAfter-1), due(leaveAfter))
		}
	}
	expect("nothing was spent", false)
	d.s.spend.lost = worthReport - 1
	expect("a trifle", false)
	d.s.spend.overhead = 1
	expect("worth a report", true)
	d.lend(0, 1)
	expect("something is held", false)
	d.drop(d.s, 0)
	d.o.Runnable = func(jobs.JobID) error { return errDead }
	expect("the job has ended", false)
	d.o.Runnable = func(jobs.JobID) error { return nil }
	d.flushes = maxFlushes
	expect("too many reports are on their way", false)
	d.flushes = 0
	if d.leaving = true; !due(0) {
		t.Error("an agent that leaves the grid waits")
	}
}

// TestDraft: a report says what there is within its bounds, and the next one the rest.
func TestDraft(t *testing.T) {
	s := spend{lost: record.MaxSpend + 5*time.Microsecond + 3, overhead: time.Millisecond}
	if got := s.take(); got != (spend{record.MaxSpend, time.Millisecond}) {
		t.Errorf("took %v", got)
	}
	if got := s.take(); got != (spend{lost: 5 * time.Microsecond}) || s != (spend{lost: 3}) {
		t.Errorf("took %v then, left %v", got, s)
	}
}
