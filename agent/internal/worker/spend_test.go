package worker

import (
	"reflect"
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

// TestLose: a run without a result is told of with its newest checkpoint. The unit had taken ten seconds when it began,
// and twenty more in it. One that left no checkpoint needs no line.
func TestLose(t *testing.T) {
	const used = 20 * time.Second
	lineage := record.Lineage{{Before: 10 * time.Second, From: jobs.AgentID{4}}}
	keeps := func(d *desk, sv *saver, cpu time.Duration) {
		n := noteOf(t, d, 0, 1)
		n.CPU = cpu
		sv.notes, sv.at = []*records.Note{n}, time.Now()
	}
	for name, test := range map[string]struct {
		kept time.Duration // 0: nothing
		did  func(*desk, *saver)
		want spend
	}{
		"no checkpoint":               {0, func(*desk, *saver) {}, spend{lost: used}},
		"one of an earlier run":       {25 * time.Second, func(_ *desk, sv *saver) { sv.at = time.Time{} }, spend{lost: used}},
		"one of this run":             {25 * time.Second, func(*desk, *saver) {}, spend{runs: []record.LostRun{{CPU: used, Lineage: lineage, Kept: 25 * time.Second}}}},
		"of a bundle's second try":    {25 * time.Second, func(_ *desk, sv *saver) { sv.bundle.attempt = 2 }, spend{runs: []record.LostRun{{Attempt: 2, CPU: used, Lineage: lineage, Kept: 25 * time.Second}}}},
		"too many were told of":       {25 * time.Second, func(d *desk, _ *saver) { d.s.asides = maxAsides }, spend{lost: 5 * time.Second}},
		"one that cost more than all": {31 * time.Second, func(d *desk, _ *saver) { d.s.asides = maxAsides }, spend{}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(10, 1)
			d.lend(0, 1)
			sv := &saver{w: d.Worker, unit: jobs.UnitID{Job: d.s.id.Job}, shard: d.s.id, bundle: d.s.bundles[0], lineage: lineage}
			if test.kept > 0 {
				keeps(d, sv, test.kept)
			}
			test.did(d, sv)
			d.lose(&run{shard: d.s, saver: sv}, used)
			if got := d.s.spend; !reflect.DeepEqual(got, test.want) {
				t.Errorf("told of %+v, expected %+v", got, test.want)
			}
		})
	}
	t.Run("a checkpoint is on its way", func(t *testing.T) {
		d := newDesk(10, 1)
		d.lend(0, 1)
		sv := &saver{w: d.Worker, unit: jobs.UnitID{Job: d.s.id.Job}, shard: d.s.id, bundle: d.s.bundles[0], lineage: lineage, busy: true}
		d.lose(&run{shard: d.s, saver: sv}, used)
		if d.s.spend.worthIt() {
			t.Error("something is told of before it is known from where others can go on")
		}
		keeps(d, sv, 28*time.Second)
		for range 2 {
			d.noted(sv, sv.notes)
		}
		if got := d.s.spend.runs; len(got) != 1 || got[0].Kept != 28*time.Second {
			t.Errorf("told of %+v", got)
		}
	})
	t.Run("short units", func(t *testing.T) {
		d := newDesk(10, 1)
		d.lose(&run{shard: d.s}, used)
		if !reflect.DeepEqual(d.s.spend, spend{lost: used}) {
			t.Errorf("told of %+v", d.s.spend)
		}
	})
	t.Run("a result that nobody sees", func(t *testing.T) {
		d := newDesk(10, 2)
		d.lend(0, 1)
		b := d.s.bundles[0]
		for unit, kept := range []time.Duration{15 * time.Second, 0} {
			d.endedWith(task{b, uint64(unit)}, result{Result: executor.Result{Times: jobs.Times{CPU: used}}, lineage: lineage, kept: kept}, d.now)
		}
		p := d.take()[0]
		p.lose(b)
		if want := (spend{lost: used, runs: []record.LostRun{{CPU: used, Lineage: lineage, Kept: 15 * time.Second}}}); !reflect.DeepEqual(d.s.spend, want) {
			t.Errorf("told of %+v, expected %+v", d.s.spend, want)
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
	d.s.asides = maxAsides
	expect("too much was said already", false)
	d.s.asides = 0
	if d.leaving = true; !due(0) {
		t.Error("an agent that leaves the grid waits")
	}
}

// TestDraft: a report says what there is within its bounds, and the next ones the rest.
func TestDraft(t *testing.T) {
	s := spend{lost: record.MaxSpend + 5*time.Microsecond + 3, overhead: time.Millisecond}
	for unit := range uint64(record.MaxLostRuns) {
		s.runs = append(s.runs, record.LostRun{Unit: unit}, record.LostRun{Unit: 7, Attempt: 1, CPU: time.Duration(unit)})
	}
	first, second := s.take(), s.take()
	if first.lost != record.MaxSpend || first.overhead != time.Millisecond || second.lost != 5*time.Microsecond || second.overhead != 0 || s.lost != 3 {
		t.Errorf("lost: first %v, then %v, left %v", first.lost, second.lost, s.lost)
	}
	if len(first.runs) != record.MaxLostRuns || len(second.runs) != 2 || len(s.runs) != record.MaxLostRuns-2 {
		t.Errorf("runs: first %d, then %d, left %d", len(first.runs), len(second.runs), len(s.runs))
	}
	r := record.Report{Job: jobs.JobID{1}, Author: jobs.AgentID{1}, Runtime: "r", Platform: "p", LostRuns: first.runs, Lost: first.lost}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	long := spend{}
	for unit := range uint64(record.MaxLostRuns) {
		var lineage record.Lineage
		for n := range record.MaxLineage {
			lineage = lineage.After(jobs.AgentID{1}, time.Duration(n+1)*time.Hour)
		}
		long.runs = append(long.runs, record.LostRun{Unit: unit, Attempt: record.MaxAttempt, CPU: time.Hour, Kept: 100 * time.Hour, Lineage: lineage})
	}
	if r.LostRuns = long.take().runs; len(r.LostRuns) == 0 || len(r.Encode()) > asideBytes {
		t.Errorf("%d runs of long lineages take %d bytes", len(r.LostRuns), len(r.Encode()))
	}
	s.add(second)
	if len(s.runs) != record.MaxLostRuns || s.lost != 5*time.Microsecond+3 {
		t.Errorf("put back: %d runs and %v", len(s.runs), s.lost)
	}
}
