// Package durable writes small files so that a crash leaves the old content or the new one, never a part,
// and so that a write that returned is on disk.
//
// It knows no format, locks nothing and is meant for files that fit in memory. Of two writers of one name
// the later rename stands.
package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"idlegrid/agent/peer/failpoint"
)

const tempPrefix = ".tmp-"

// IsLeftOver reports whether a file of this name is one that a crash left behind.
func IsLeftOver(name string) bool { return strings.HasPrefix(name, tempPrefix) }

// WriteFile puts data under name in dir, replacing what is there. The permissions count for a new file and
// for a replaced one alike. After an error the old content stands and no temporary file is left; only a crash
// leaves one behind, named ".tmp-" and a random word, which may be deleted.
func WriteFile(dir *os.Root, name string, data []byte, perm fs.FileMode) error {
	folder := path.Dir(name)
	temp := path.Join(folder, tempPrefix+rand.Text())
	err := writeNew(dir, temp, data, perm)
	if err == nil {
		failpoint.Hit("durable.synced")
		err = dir.Rename(temp, name)
	}
	if err != nil {
		// The file may never have been made; the first error is the one that counts.
		if e := dir.Remove(temp); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
		return fmt.Errorf("write %s in %s: %w", name, dir.Name(), err)
	}
	failpoint.Hit("durable.renamed")
	if err := SyncFolder(dir, folder); err != nil {
		return fmt.Errorf("write %s in %s: %w", name, dir.Name(), err)
	}
	return nil
}

// writeNew makes a file with data in it and returns once the disk has it.
func writeNew(dir *os.Root, name string, data []byte, perm fs.FileMode) error {
	f, err := dir.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		failpoint.Hit("durable.written")
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
