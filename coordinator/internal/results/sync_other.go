//go:build !linux

package results

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// Sync returns when everything in the folder is on disk.
func (f *Folder) Sync() error {
	err := fs.WalkDir(f.root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		file, err := f.root.OpenFile(name, os.O_RDWR, 0) // Windows syncs no file that is open to be read alone.
		if err != nil {
			return err
		}
		return errors.Join(file.Sync(), file.Close())
	})
	if err != nil {
		return fmt.Errorf("write the results to the disk: %w", err)
	}
	return nil
}
