package results

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Sync returns when everything in the folder is on disk: with one call for the whole file system, since a call for
// each of a million files takes hours.
func (f *Folder) Sync() (err error) {
	dir, err := f.root.Open(".")
	if err != nil {
		return fmt.Errorf("open the results folder: %w", err)
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	conn, err := dir.SyscallConn()
	if err != nil {
		return fmt.Errorf("open the results folder: %w", err)
	}
	var syncErr error
	if err = conn.Control(func(fd uintptr) { syncErr = unix.Syncfs(int(fd)) }); err == nil {
		err = syncErr
	}
	if err != nil {
		return fmt.Errorf("write the results to the disk: %w", err)
	}
	return nil
}
