//go:build unix

package durable

import (
	"errors"
	"os"
)

// syncFolder makes a rename in the folder last.
func syncFolder(dir *os.Root, name string) error {
	f, err := dir.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
