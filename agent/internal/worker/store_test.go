package worker

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"idlegrid/agent/peer/blobs"
	"idlegrid/jobs"
)

// openDir gives the worker a store.
func (d *desk) openDir(t *testing.T, quota int64) {
	dir, err := blobs.OpenDir(t.TempDir(), quota)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	d.o.Dir, d.o.Room = dir, dir.Room
}

// TestNothingCanBeStored holds that a worker that cannot store outcomes takes no work, gives back what it has no
// use for, and works again when it can.
func TestNothingCanBeStored(t *testing.T) {
	for name, test := range map[string]struct {
		fill func(t *testing.T, d *desk) (empty func())
		held int // bundles, of one finished, one running, one begun and one queued
	}{
		"the disk is bad": {func(_ *testing.T, d *desk) func() {
			d.o.Disk = func() error { return errors.New("no space left") }
			return func() { d.o.Disk = func() error { return nil } }
		}, 1},
		"the quota is used up": {func(t *testing.T, d *desk) func() {
			data := make([]byte, 3<<20)
			job, b := jobs.JobID{5}, jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
			if err := d.o.Dir.Put(blobs.For(job), b, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			return func() {
				if err := blobs.Forget(d.o.Dir, job); err != nil {
					t.Fatal(err)
				}
			}
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(12, 2)
			d.openDir(t, 10<<20)
			if d.checkStore(d.now); d.unfit || !d.hungry(d.now) {
				t.Fatal("a worker that can store is not hungry")
			}
			d.lend(0, 1)
			d.finishUnits(2, 1) // the finished one
			d.lend(1, 1)
			ctx, cancel := context.WithCancel(t.Context())
			for range 2 { // the running one
				u := d.s.queue[:1]
				d.s.queue = d.s.queue[1:]
				d.start(ctx, u, d.programs[d.s.id.Job], d.now)
			}
			d.lend(2, 1)
			d.finishUnits(1, 1) // the one that is begun
			d.lend(3, 1)
			empty := test.fill(t, d)
			d.checkStore(d.now)
			if !d.unfit || d.hungry(d.now) || len(d.s.queue) > 0 || len(d.s.bundles) != test.held {
				t.Errorf("hungry %v, %d units wait, %d bundles are held, expected %d", d.hungry(d.now), len(d.s.queue), len(d.s.bundles), test.held)
			}
			if len(d.finished) != 2 || d.backlog != 3 {
				t.Errorf("%d parts, %d bytes wait for a report, expected those of two bundles", len(d.finished), d.backlog)
			}
			empty()
			if d.checkStore(d.now); d.unfit || !d.s.changed {
				t.Error("does not work again, or did not tell")
			}
			cancel()
			for r := range d.running {
				r.cancel(errStopping)
			}
			for range len(d.running) {
				(<-d.events)(d.now)
			}
			d.tasks.Wait()
		})
	}
}
