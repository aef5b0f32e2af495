package durable

import (
	"errors"
	"io/fs"
	"sync"

	"idlegrid/jobs"
)

// Disk is what is known of the disk under a state folder: whoever writes there does it through Do. A write that
// fails, for whatever reason, makes the disk bad until Recover finds that it works again. A nil Disk only writes.
type Disk struct {
	before func() error  // asked before each write; nil: nobody is
	failed chan struct{} // holds a token when the disk went bad

	mu  sync.Mutex // guards err
	err error
}

// NewDisk returns a disk that is good. An error of before, which may be nil, is that of a write: so a test fills
// a disk.
func NewDisk(before func() error) *Disk {
	return &Disk{before: before, failed: make(chan struct{}, 1)}
}

// Do runs one write and returns its error. That something was closed says nothing of the disk, nor does an error
// that has a kind: whoever made it knew better.
func (d *Disk) Do(write func() error) error {
	if d == nil {
		return write()
	}
	err := d.try(write)
	var known *jobs.Error
	if err != nil && !errors.Is(err, fs.ErrClosed) && !errors.As(err, &known) {
		d.set(err)
	}
	return err
}

func (d *Disk) try(write func() error) error {
	if d.before != nil {
		if err := d.before(); err != nil {
			return err
		}
	}
	return write()
}

func (d *Disk) set(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil && err != nil {
		select {
		case d.failed <- struct{}{}:
		default: // nobody has looked since the last time
		}
	}
	d.err = err
}

// Recover makes the disk good if a write works.
func (d *Disk) Recover(probe func() error) { d.set(d.try(probe)) }

// Err returns why the disk is bad; nil: it is good as far as is known.
func (d *Disk) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}

// Failed holds a token each time the disk went bad.
func (d *Disk) Failed() <-chan struct{} { return d.failed }
