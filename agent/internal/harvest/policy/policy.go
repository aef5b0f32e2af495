package policy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"idlegrid/jobs"
	"idlegrid/jobs/yamlfile"
)

// Policy is what all layers say together.
type Policy struct {
	Values
	Settings []Setting // all keys, in the order of the docs
	Warnings []string  // values that a lock made void
}

// Setting is the value of one key and who says it.
type Setting struct {
	Key, Value string // as a file has them
	Layer      Layer
	File       string // empty: built in
	Line       int
	Lock       string // file:line of the machine's policy that locks it; empty: none does
}

// Setting returns the setting of a key; false: there is no such key.
func (p *Policy) Setting(key string) (Setting, bool) {
	i := slices.IndexFunc(p.Settings, func(s Setting) bool { return s.Key == key })
	if i < 0 {
		return Setting{}, false
	}
	return p.Settings[i], true
}

// Where returns the layer and, unless it is the built-in one, file and line.
func (s Setting) Where() string {
	if s.File == "" {
		return string(s.Layer)
	}
	return fmt.Sprintf("%s, %s:%d", s.Layer, s.File, s.Line)
}

// Load reads all layers. Files that are not there say nothing. Its error tells all that is wrong in all files and is of
// kind jobs.Invalid, unless a file could not be read.
func Load(p Paths) (*Policy, error) {
	var layers []*layer
	var problems yamlfile.Problems
	var errs []error
	for _, f := range p.files() {
		l, err := f.read()
		var wrong yamlfile.Problems
		switch {
		case errors.As(err, &wrong):
			problems = append(problems, wrong...)
		case err != nil:
			errs = append(errs, err)
		case l != nil:
			layers = append(layers, l)
		}
	}
	if len(problems) > 0 {
		errs = append(errs, problems)
	}
	if err := errors.Join(errs...); err != nil {
		if len(errs) == 1 {
			return nil, errs[0]
		}
		return nil, err
	}
	return merge(layers), nil
}

// merge lets each layer overrule those before it, locked keys aside.
func merge(layers []*layer) *Policy {
	p := &Policy{Values: Defaults()}
	locked := map[string]string{}
	for _, l := range layers {
		for name, at := range l.locked {
			locked[name] = fmt.Sprintf("%s:%d", at.file, at.line)
		}
	}
	for _, k := range keys() {
		at := source{layer: BuiltIn}
		lock := locked[k.name]
		for _, l := range layers {
			set := l.set[k.name]
			if set == nil {
				continue
			}
			from := l.from[k.name]
			if lock != "" && from.layer != Machine {
				p.Warnings = append(p.Warnings, fmt.Sprintf("%s:%d: %s is ignored: %s locks it", from.file, from.line, k.name, lock))
				continue
			}
			set(&p.Values)
			at = from
		}
		p.Settings = append(p.Settings, Setting{
			Key: k.name, Value: k.show(&p.Values), Layer: at.layer, File: at.file, Line: at.line, Lock: lock,
		})
	}
	return p
}

// maxFiles bounds the files of the machine's layer.
const maxFiles = 64

// file is one file of a layer.
type file struct {
	path  string
	of    Layer
	wrong error // why its folder could not be read
}

// files lists all files there may be, the weakest first.
func (p Paths) files() []file {
	var out []file
	for _, path := range p.Machine {
		if filepath.Ext(path) == ".yaml" {
			out = append(out, file{path: path, of: Machine})
			continue
		}
		names, err := folder(path)
		if err != nil {
			out = append(out, file{path: path, of: Machine, wrong: err})
		}
		for _, name := range names {
			out = append(out, file{path: filepath.Join(path, name), of: Machine})
		}
	}
	return append(out, file{path: p.Local, of: Local}, file{path: p.Owner, of: Owner})
}

// folder lists the policy files of a folder by their names, none where there is no folder.
func folder(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".yaml" && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, e.Name())
		}
	}
	if len(names) > maxFiles {
		return nil, jobs.Errorf(jobs.Invalid, "%s: has %d files, expected at most %d", path, len(names), maxFiles)
	}
	slices.Sort(names)
	return names, err
}

// read returns nil where there is no file.
func (f file) read() (*layer, error) {
	if f.wrong != nil {
		return nil, f.wrong
	}
	if f.path == "" {
		return nil, nil
	}
	// A named pipe in the place of a file would keep the reader for ever.
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, jobs.Errorf(jobs.Invalid, "%s: is no regular file", f.path)
	}
	from, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read the policy: %w", err)
	}
	return decode(text, f.path, f.of)
}
