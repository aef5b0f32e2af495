//go:build unix

package identity

import (
	"io/fs"
	"path/filepath"

	"idlegrid/jobs"
)

// checkPrivate refuses a file that others than its owner may read or write.
func checkPrivate(info fs.FileInfo, folder, name string) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return jobs.WithHint(
			jobs.Errorf(jobs.Denied, "the key %s in %s is open to other users (mode %#o)", name, folder, mode),
			"chmod 600 '%s'", filepath.Join(folder, name))
	}
	return nil
}
