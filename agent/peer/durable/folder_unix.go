//go:build unix

package durable

import (
	"errors"
	"os"
)

// SyncFolder makes what was made, renamed or removed in a folder of dir last.
func SyncFolder(dir *os.Root, name string) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
