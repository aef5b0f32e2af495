package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"idlegrid/agent/peer/identity"
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

// RemoveAgent makes the state folder of an agent that does not run one that has joined no grid: its identity goes
// first, so that nothing can start on half of the rest, then its data, and the folders that are named besides.
// What else lies there stays. Where it was interrupted it may be called again.
func RemoveAgent(state string, folders ...string) (err error) {
	dir, err := os.OpenRoot(state)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	if err := Forget(dir); err != nil {
		return err
	}
	for _, name := range []string{addressesFile, recordsFile} {
		if err := dir.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	for _, name := range append([]string{blobsFolder}, folders...) {
		if err := dir.RemoveAll(name); err != nil {
			return err
		}
	}
	return nil
}

// HalfRemoved reports whether a RemoveAgent was interrupted in this folder: an agent's data without an identity.
func HalfRemoved(state string) (bool, error) {
	dir, err := os.OpenRoot(state)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer dir.Close() // nothing was written
	if _, err := identity.Load(dir); jobs.KindOf(err) != jobs.NotFound {
		return false, nil
	}
	if _, err := identity.Open(dir); jobs.KindOf(err) != jobs.NotFound {
		return false, nil // a coordinator's, whatever became of it
	}
	for _, name := range []string{recordsFile, blobsFolder} {
		if _, err := dir.Lstat(name); err == nil {
			return true, nil
		}
	}
	return false, nil
}
