//go:build linux || darwin

package service

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"idlegrid/agent/peer/durable"
)

// source is a file of the service's, and what makes its text.
type source struct {
	path string
	text func() (string, error)
}

func (s Service) definition() ([]file, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	var files []file
	for _, one := range s.sources() {
		text, err := one.text()
		if err != nil {
			return nil, err
		}
		files = append(files, file{one.path, text})
	}
	return files, nil
}

// write writes files where the system reads them, in folders that it has or may have.
func write(files []file, to io.Writer) error {
	for _, f := range files {
		if err := os.MkdirAll(filepath.Dir(f.path), 0o755); err != nil { //nolint:gosec // these are for everybody's eyes
			return err
		}
		folder, err := os.OpenRoot(filepath.Dir(f.path))
		if err != nil {
			return err
		}
		err = durable.WriteFile(folder, filepath.Base(f.path), []byte(f.text), 0o644)
		if err := errors.Join(err, folder.Close()); err != nil {
			return err
		}
		say(to, "wrote %s", f.path)
	}
	return nil
}

// remove removes the files of the service that are there: an older version wrote fewer.
func (s Service) remove(to io.Writer) error {
	for _, one := range s.sources() {
		err := os.Remove(one.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		say(to, "removed %s", one.path)
	}
	return nil
}
