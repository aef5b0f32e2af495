package manifest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"idlegrid/jobs"
)

// folder is the folder of a job.yaml. Nothing outside it can be reached, not through links either.
type folder struct {
	root *os.Root
	dir  string
}

func openFolder(dir string) (*folder, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "open the job's folder: %w", err)
	}
	return &folder{root: root, dir: dir}, nil
}

// close has no error to return: nothing was written.
func (d *folder) close() { _ = d.root.Close() }

// cleanPath checks how a path is written, not what is there.
func cleanPath(p string) (string, error) {
	clean := path.Clean(p)
	switch {
	case p == "":
		return "", fault("is an empty path", "")
	case strings.ContainsRune(p, '\\'):
		return "", fault("has a backslash", "separate folders by /")
	case path.IsAbs(p) || len(p) > 1 && p[1] == ':':
		return "", fault("is an absolute path", "copy the file into the job's folder, or move job.yaml")
	case clean == ".." || strings.HasPrefix(clean, "../"):
		return "", fault("leaves the job's folder", "copy the file into the job's folder, or move job.yaml")
	case clean != "." && !validPath(clean):
		return "", fault(fmt.Sprintf("is no path that works everywhere: at most %d bytes, none invisible", MaxPath), "")
	}
	return clean, nil
}

// fault is an error that reads as the rest of a sentence about a path, with a hint that may be empty.
func fault(message, hint string) error {
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s", message), "%s", hint)
}

// check returns nil if name is a regular file.
func (d *folder) check(name string) error {
	info, err := d.root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault("does not exist", "paths are relative to the folder of job.yaml")
	case err != nil && strings.HasSuffix(err.Error(), "path escapes from parent"):
		return fault("is a link that leaves the job's folder", "copy the file into the job's folder")
	case err != nil:
		return unreadable(err)
	case info.IsDir():
		return fault("is a folder, expected a file", fmt.Sprintf("in inputs, %s names the files in it", path.Join(name, "*")))
	case !info.Mode().IsRegular():
		return fault("is no regular file", "")
	}
	return nil
}

// open opens a regular file.
func (d *folder) open(name string) (io.ReadCloser, error) {
	if err := d.check(name); err != nil {
		return nil, err
	}
	f, err := d.root.Open(name)
	if err != nil {
		return nil, unreadable(err)
	}
	return f, nil
}

func unreadable(err error) error { return fault("cannot be read: "+lastCause(err), "") }

// lastCause drops the operation and path that a message about a file already has.
func lastCause(err error) string {
	var e *fs.PathError
	if errors.As(err, &e) {
		err = e.Err
	}
	return err.Error()
}

// isGlob reports whether a path names files by pattern.
func isGlob(p string) bool { return strings.ContainsAny(p, "*?[") }

// glob returns the regular files that match, sorted, and at most a little over MaxInputs. * and ? stay
// within a folder, ** is any number of folders. As in a shell, names that begin with a dot need a pattern
// that does, and folders that match are passed over.
func (d *folder) glob(pattern string) ([]string, error) {
	segments := strings.Split(pattern, "/")
	if strings.Count(pattern, "**") > 1 {
		return nil, fault("has ** more than once", "")
	}
	for _, s := range segments {
		if _, err := path.Match(s, ""); err != nil {
			return nil, fault("is no glob: "+err.Error(), "")
		}
	}
	g := globber{fsys: d.root.FS(), found: make(map[string]bool)}
	if err := g.expand(".", segments); err != nil {
		return nil, unreadable(err)
	}
	names := make([]string, 0, len(g.found))
	for name := range g.found {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

type globber struct {
	fsys  fs.FS
	found map[string]bool
}

// expand matches what is in dir against the segments of a pattern that are left.
func (g *globber) expand(dir string, segments []string) error {
	if len(g.found) > MaxInputs {
		return nil
	}
	if segments[0] == "**" && len(segments) > 1 {
		if err := g.expand(dir, segments[1:]); err != nil {
			return err
		}
	}
	entries, err := fs.ReadDir(g.fsys, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := g.entry(path.Join(dir, e.Name()), e, segments); err != nil {
			return err
		}
	}
	return nil
}

func (g *globber) entry(name string, e fs.DirEntry, segments []string) error {
	pattern, rest := segments[0], segments[1:]
	if strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(pattern, ".") {
		return nil
	}
	if pattern == "**" && e.IsDir() { // Not through links: they may go round in circles.
		return g.expand(name, segments)
	}
	if ok, err := path.Match(pattern, e.Name()); err != nil || !ok {
		return err
	}
	switch isDir := g.isDir(name, e); {
	case isDir && len(rest) > 0 && pattern != "**":
		return g.expand(name, rest)
	case !isDir && len(rest) == 0:
		g.found[name] = true
	}
	return nil
}

// isDir looks through a link. One that is broken or leads out is taken for a file, so that it is reported
// when the files are checked.
func (g *globber) isDir(name string, e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink == 0 {
		return e.IsDir()
	}
	info, err := fs.Stat(g.fsys, name)
	return err == nil && info.IsDir()
}
