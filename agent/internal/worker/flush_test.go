package worker

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// TestBacklog is the law of what is held: whatever happens, backlog counts the bytes of exactly those outcomes
// that are not kept yet, their bundles are held until all are, and at the end nothing is left behind. All CPU time of units
// that ended is in a report, or on its way to one, or to be reported as lost.
func TestBacklog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDesk(40, 4)
		ended, reported := time.Duration(0), time.Duration(0)
		var flushing []draft
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 8).Draw(t, "what") {
			case 0, 1:
				d.lend(rapid.Uint64Range(0, 9).Draw(t, "bundle"), 1)
			case 2, 3:
				ended += d.finishUnits(rapid.IntRange(1, 6).Draw(t, "units"), 10)
			case 4:
				d.drop(d.s, rapid.Uint64Range(0, 9).Draw(t, "dropped"))
			case 5:
				if len(d.finished) > 0 {
					flushing = append(flushing, draft{shard: d.s, parts: d.take(), spend: d.s.spend.take()})
				}
			case 6:
				d.fault(d.s.id.Job, "test", errors.New("test"), d.now)
			case 7:
				for i, f := range flushing {
					reported += d.land(t, i, f)
				}
				flushing = nil
			case 8:
				d.finishAll(d.now)
			}
			d.checkBacklog(t, flushing)
			if got := d.accounted(flushing) + reported; got != ended {
				t.Fatalf("%s of CPU time are accounted for, units took %s", got, ended)
			}
		}
		if rapid.Bool().Draw(t, "ends") {
			d.end(d.s)
		}
		for i, f := range flushing {
			d.land(t, i, f)
		}
		d.end(d.s)
		d.loads(d.now)
		if d.backlog != 0 || d.bytes != 0 || len(d.s.bundles) != 0 || len(d.finished) != 0 || len(d.reports) != 0 {
			t.Fatalf("left behind: backlog %d, bytes %d, %d bundles, %d finished, %d reports",
				d.backlog, d.bytes, len(d.s.bundles), len(d.finished), len(d.reports))
		}
	})
}

// land ends a flush in one of the ways it can, and returns how much CPU time it reported.
func (d *desk) land(t *rapid.T, i int, f draft) (reported time.Duration) {
	switch rapid.IntRange(0, 2).Draw(t, "flush") {
	case 0:
		d.unflushed(f, errors.New("test"), d.now)
	case 1:
		d.unflushed(f, errUnfit, d.now)
		return f.spend.lost // it is said to nobody
	default:
		envelope := record.Envelope{Payload: fmt.Appendf(nil, "%d %p", i, f.parts[0])}
		d.journalled(&pending{
			offer: records.Offer{Record: records.Record{Envelope: envelope}},
			shard: f.shard.id, parts: f.parts, answers: map[jobs.AgentID]bool{},
		})
		return f.cpu()
	}
	return 0
}

// cpu returns what a report of the draft says.
func (f draft) cpu() time.Duration {
	sum := f.spend.lost
	for _, p := range f.parts {
		sum += cpuOf(p.units)
	}
	return sum
}

func cpuOf(units []record.UnitReport) (sum time.Duration) {
	for _, u := range units {
		sum += u.Times.CPU
	}
	return sum
}

// accounted returns the CPU time that is not reported yet, and will be.
func (d *desk) accounted(flushing []draft) time.Duration {
	sum := draft{parts: d.finished, spend: d.s.spend}.cpu()
	for _, f := range flushing {
		sum += f.cpu()
	}
	for _, b := range d.s.bundles {
		sum += cpuOf(b.ended.units)
	}
	return sum
}

// TestBacklogIsFreed holds that outcomes of unfinished bundles are reported before they fill the backlog for
// good, in packs of modest size, and that such a bundle is held until all its units are kept.
func TestBacklogIsFreed(t *testing.T) {
	for name, test := range map[string]struct {
		units, size int // ended of each of the bundles
		bundles     uint32
	}{
		"large outcomes":         {61, 5 << 20, 1},
		"many unfinished":        {6, 1 << 20, 43},
		"outcomes as large as 5": {7, 64 << 20, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(62*100, 62)
			d.lend(0, test.bundles)
			outcome := make([]byte, test.size)
			for _, task := range d.s.queue {
				if b := task.bundle; 62-b.open < test.units {
					d.ended(b, record.UnitReport{Unit: task.unit}, outcome, d.now)
				}
			}
			if d.backlog < maxBacklog {
				t.Fatalf("backlog is %d", d.backlog)
			}
			d.refreshAt, d.flushRest = d.now.Add(time.Hour), d.now.Add(time.Hour) // the test itself flushes
			d.step(t.Context(), d.now)
			for len(d.finished) > 0 {
				p := &pending{shard: d.s.id, parts: d.take()}
				packed := 0
				for _, part := range p.parts {
					packed += part.bytes
				}
				if packed >= flushBytes+test.size {
					t.Errorf("a pack of %d bytes", packed)
				}
				d.journalled(p)
				d.release(p)
			}
			if d.backlog != 0 || len(d.s.bundles) != int(test.bundles) {
				t.Errorf("backlog %d, %d bundles are held", d.backlog, len(d.s.bundles))
			}
		})
	}
}

// TestReportIsBounded holds that a report takes no more units than every peer takes.
func TestReportIsBounded(t *testing.T) {
	d := newDesk(30_000, 1000)
	d.lend(0, 30)
	d.finishUnits(30_000, 0)
	units := 0
	for _, p := range d.take() {
		units += len(p.units)
	}
	if units != 16_000 {
		t.Errorf("%d units in a report", units)
	}
}

func (d *desk) checkBacklog(t *rapid.T, flushing []draft) {
	sum := 0
	for _, b := range d.s.bundles {
		sum += b.ended.bytes
		if b.open == 0 && b.parts == 0 {
			t.Fatalf("bundle %d is held and all of it is kept", b.number)
		}
	}
	parts := d.finished
	for _, f := range flushing {
		parts = slices.Concat(parts, f.parts)
	}
	for _, p := range d.reports {
		parts = slices.Concat(parts, p.parts)
	}
	for _, p := range parts {
		sum += p.bytes
		if b := p.bundle; !b.dropped && d.s.bundles[b.number] != b {
			t.Fatalf("bundle %d is not held and not all of it is kept", b.number)
		}
	}
	if sum != d.backlog {
		t.Fatalf("backlog %d, what is held has %d bytes", d.backlog, sum)
	}
	for _, task := range d.s.queue {
		if task.bundle.dropped {
			t.Fatal("a unit of a dropped bundle is queued")
		}
	}
}

// TestPackThatNobodyTakes holds that an agent that cannot store what it did lets others do it.
func TestPackThatNobodyTakes(t *testing.T) {
	d := newDesk(8, 4)
	d.lend(0, 2)
	d.finishUnits(6, 10)
	full := errors.New("disk full")
	fail := func(after time.Duration) { d.unflushed(draft{shard: d.s, parts: d.take()}, full, d.now.Add(after)) }
	for after := time.Duration(0); after < flushPatience; after += flushRetry {
		fail(after)
		if len(d.finished) != 1 || len(d.s.bundles) != 2 {
			t.Fatalf("after %s: %d finished, %d held", after, len(d.finished), len(d.s.bundles))
		}
	}
	d.stopping = true
	if fail(time.Hour); len(d.finished) != 1 {
		t.Fatal("at a stop it is not tried once more")
	}
	d.stopping = false
	fail(flushPatience)
	if len(d.finished) != 0 || len(d.s.bundles) != 0 || d.backlog != 0 || d.bytes != 0 || !d.s.changed {
		t.Errorf("%d finished, %d held, backlog %d, bytes %d, told: %t",
			len(d.finished), len(d.s.bundles), d.backlog, d.bytes, d.s.changed)
	}
	if !d.s.restUntil.After(d.now.Add(flushPatience)) {
		t.Error("the job does not rest")
	}
}
