package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
)

// stoppedEvery is how often a state folder is looked at that is still in use.
const stoppedEvery = 50 * time.Millisecond

// AwaitStopped returns when no process has a state folder in use.
func AwaitStopped(ctx context.Context, state string) error {
	ticker := time.NewTicker(stoppedEvery)
	defer ticker.Stop()
	for {
		runs, err := Running(state)
		if err != nil || !runs {
			return err
		}
		select {
		case <-ctx.Done():
			return jobs.Errorf(jobs.Unavailable, "%s is still in use: %w", state, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}

// leftFile is grid.json while an agent's data is removed: without that name nothing starts on it, and who comes
// back after an interruption sees that the rest goes too.
const leftFile = "grid.left"

// RemoveAgent makes the state folder of an agent that does not run one that has joined no grid: its identity goes
// first, so that nothing can start on half of the rest, then its data, and the folders that are named besides.
// What else lies there stays. Where it was interrupted it may be called again.
func RemoveAgent(state string, folders ...string) (err error) {
	dir, err := os.OpenRoot(state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := dir.Rename(gridFile, leftFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := errors.Join(durable.SyncFolder(dir, "."), Forget(dir)); err != nil {
		return err
	}
	for _, name := range append([]string{blobsFolder}, folders...) {
		if err := dir.RemoveAll(name); err != nil {
			return err
		}
	}
	for _, name := range []string{addressesFile, recordsFile, leftFile} {
		if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// HalfRemoved reports whether a RemoveAgent was interrupted in this folder. That data lies in it without an identity
// does not show it: it may be an agent's whose identity was lost, or nothing of the grid's at all.
func HalfRemoved(state string) (bool, error) {
	dir, err := os.OpenRoot(state)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close() // nothing was written
	_, left := dir.Lstat(leftFile)
	_, joined := dir.Lstat(gridFile)
	return left == nil && errors.Is(joined, fs.ErrNotExist), nil
}
