//go:build linux || darwin

package service

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"

	"idlegrid/jobs"
)

// giveState makes the state folder and all in it a user's. What is not there needs no owner.
func (s Service) giveState(name string) error {
	who, err := user.Lookup(name)
	if err != nil {
		return err
	}
	uid, err := strconv.Atoi(who.Uid)
	if err != nil {
		return err
	}
	gid, err := strconv.Atoi(who.Gid)
	if err != nil {
		return err
	}
	dir, err := os.OpenRoot(s.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	err = fs.WalkDir(dir.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return dir.Lchown(path, uid, gid)
	})
	if err := errors.Join(err, dir.Close()); err != nil {
		return fmt.Errorf("give %s to %s: %w", s.State, name, err)
	}
	return nil
}

// trusted returns an error unless every user can run a program and only root can replace it: the service would be
// whatever somebody else put there.
func trusted(program string) error {
	for path := program; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok || stat.Uid != 0 || info.Mode()&0o002 != 0 || info.Mode()&0o001 == 0 {
			return jobs.WithHint(jobs.Errorf(jobs.Denied, "%s must be root's, open to all and not theirs to write: the service runs what is there", path),
				"install -m 755 %s /usr/local/bin/, and run it from there", program)
		}
		if path == filepath.Dir(path) {
			return nil
		}
	}
}

// passable returns an error unless another user gets through a folder, as far as it is there.
func passable(folder string) error {
	for path := folder; path != filepath.Dir(path); path = filepath.Dir(path) {
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if info.Mode()&0o001 == 0 {
			return jobs.WithHint(jobs.Errorf(jobs.Denied, "the service's user cannot get through %s (mode %#o)", path, info.Mode().Perm()),
				"chmod o+x %s", path)
		}
	}
	return nil
}
