package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"idlegrid/agent/peer/durable"
	"idlegrid/agent/peer/records"
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
	if err := disown(state, dir); err != nil {
		return err
	}
	for _, name := range append([]string{blobsFolder}, folders...) {
		if err := dir.RemoveAll(name); err != nil {
			return err
		}
	}
	names := []string{addressesFile, recordsFile}
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if durable.IsLeftOver(e.Name()) {
			names = append(names, e.Name())
		}
	}
	for _, name := range append(names, leftFile) {
		if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// disown removes the identity. Meanwhile nothing can start, and what starts later finds none: a service manager may
// start an agent again that has just ended.
func disown(state string, dir *os.Root) error {
	release, inUse, err := records.Hold(filepath.Join(state, recordsFile))
	if err != nil {
		return err
	}
	if inUse {
		return jobs.Errorf(jobs.Unavailable, "%s is in use", state)
	}
	if err = dir.Rename(gridFile, leftFile); errors.Is(err, fs.ErrNotExist) {
		err = nil // where it was interrupted, or lost
	}
	if err == nil {
		err = errors.Join(durable.SyncFolder(dir, "."), Forget(dir))
	}
	return errors.Join(err, release())
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
