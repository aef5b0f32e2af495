package node

import (
	"context"
	"errors"
	"time"
)

// probeEvery is how often a peer with a bad disk tries whether it can write again.
const probeEvery = 30 * time.Second

// Disk returns why this peer cannot write to its state folder; nil: it can, as far as is known.
func (n *Node) Disk() error { return n.disk.Err() }

// keepDisk lets the pool know while this peer cannot write, so that nobody relies on it, and tries to write until
// it can again. What it has it still serves.
func (n *Node) keepDisk(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-n.disk.Failed():
		}
		err := n.Disk()
		if err == nil {
			continue // it works again
		}
		n.log.Error("cannot write to the state folder, taking nothing until that works", "folder", n.o.State, "err", err,
			"hint", "free space on its disk, and make sure that the agent may write there")
		n.Drain("disk", "cannot write to "+n.o.State+": "+err.Error())
		call(n.hooks.OnDisk, err)
		if !n.awaitDisk(ctx) {
			return
		}
		n.log.Info("can write to the state folder again", "folder", n.o.State)
		n.Drain("disk", "")
		call(n.hooks.OnDisk, nil)
	}
}

// awaitDisk returns when a write has worked; false: ctx ended before.
func (n *Node) awaitDisk(ctx context.Context) bool {
	timer := time.NewTimer(jitter(probeEvery))
	defer timer.Stop()
	for n.Disk() != nil {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		n.disk.Recover(func() error { return errors.Join(n.Store.Probe(), n.Blobs.Probe()) })
		timer.Reset(jitter(probeEvery))
	}
	return true
}
