package durable

import (
	"errors"
	"io/fs"
	"testing"

	"idlegrid/jobs"
)

func TestDisk(t *testing.T) {
	full := errors.New("no space left")
	var before error
	writes := 0
	d := NewDisk(func() error { return before })
	write := func() error { writes++; return nil }
	expect := func(what string, want error) {
		t.Helper()
		if err := d.Err(); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: the disk says %v, expected %v", what, err, want)
		}
	}
	if err := d.Do(write); err != nil || writes != 1 {
		t.Errorf("a write: %v, %d writes", err, writes)
	}
	expect("a good write", nil)
	if err := d.Do(func() error { return fs.ErrClosed }); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("a closed file: %v", err)
	}
	expect("a closed file", nil)
	if err := d.Do(func() error { return jobs.Errorf(jobs.NotFound, "nothing there") }); jobs.KindOf(err) != jobs.NotFound {
		t.Errorf("nothing there: %v", err)
	}
	expect("an error of another kind", nil)
	if err := d.Do(func() error { return full }); !errors.Is(err, full) {
		t.Errorf("a full disk: %v", err)
	}
	expect("a full disk", full)
	<-d.Failed()
	if err := d.Do(write); err != nil {
		t.Error(err)
	}
	expect("a small write that has room", full)
	before = full
	d.Recover(write)
	expect("a probe that fails", full)
	before = nil
	d.Recover(write)
	expect("a probe that works", nil)
	before = full
	if err := d.Do(write); !errors.Is(err, full) {
		t.Errorf("full by a test: %v", err)
	}
	expect("full again", full)
	<-d.Failed()
	select {
	case <-d.Failed():
		t.Error("told twice")
	default:
	}
	if writes != 3 {
		t.Errorf("%d writes went through", writes)
	}
	if err := (*Disk)(nil).Do(write); err != nil || writes != 4 {
		t.Errorf("without a disk: %v", err)
	}
}
