package manifest

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"idlegrid/jobs"
	"idlegrid/jobs/yamlfile"
)

// fault reports what the folder said about a field's path.
func (l *loader) fault(f yamlfile.Field, path string, err error) {
	l.Wrong(f, fmt.Sprintf("%q %v", yamlfile.Clip(path), err), jobs.HintOf(err))
}

// path returns a field's text as a clean path.
func (l *loader) path(f yamlfile.Field) (string, bool) {
	text, ok := l.Text(f)
	if !ok {
		return "", false
	}
	clean, err := cleanPath(text)
	if err != nil {
		l.fault(f, text, err)
		return "", false
	}
	return clean, true
}

func (l *loader) program(f yamlfile.Field) string {
	if !f.Present() {
		l.missing("program", "write program: my-job.wasm")
		return ""
	}
	name, ok := l.path(f)
	if !ok {
		return ""
	}
	wasm, err := l.readProgram(name)
	if err != nil {
		l.fault(f, name, err)
		return ""
	}
	digest := jobs.DigestOf(wasm)
	if l.spec.checked[name] == digest {
		return name
	}
	if l.check != nil {
		if err := l.check(name, wasm); err != nil {
			l.Wrong(f, yamlfile.OneLine(err.Error()), jobs.HintOf(err))
			return ""
		}
	}
	l.spec.checked[name] = digest
	return name
}

func (l *loader) readProgram(name string) ([]byte, error) {
	r, err := l.dir.open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	wasm, err := io.ReadAll(io.LimitReader(r, MaxProgram+1))
	if err != nil {
		return nil, unreadable(err)
	}
	if len(wasm) > MaxProgram {
		return nil, fault(fmt.Sprintf("has more than %d MiB", MaxProgram>>20), "put its data into input files")
	}
	return wasm, nil
}

func (l *loader) stdin(f yamlfile.Field) string {
	if !f.Present() {
		return ""
	}
	name, ok := l.path(f)
	if !ok {
		return ""
	}
	if err := l.dir.check(name); err != nil {
		l.fault(f, name, err)
	}
	return name
}

// inputs returns the files that the entries name, sorted, each once.
func (l *loader) inputs(f yamlfile.Field) []string {
	if !f.Present() {
		return nil
	}
	items, _ := l.List(f)
	by := make(map[string]string) // file → the entry that named it
	for _, item := range items {
		pattern, ok := l.path(item)
		if !ok {
			continue
		}
		for _, name := range l.match(item, pattern) {
			if first, seen := by[name]; seen {
				l.Wrong(item, fmt.Sprintf("gives %q, which %s gives already", yamlfile.Clip(name), first), "name each file once")
				break
			}
			by[name] = item.Name
		}
		if len(by) > MaxInputs {
			l.Wrong(item, fmt.Sprintf("makes more than %d files, which is the limit", MaxInputs),
				"put them into fewer files")
			break
		}
	}
	return slices.Sorted(maps.Keys(by))
}

// match returns the files that one entry names, all of them regular.
func (l *loader) match(item yamlfile.Field, pattern string) []string {
	names := []string{pattern}
	if isGlob(pattern) {
		var err error
		if names, err = l.dir.glob(pattern); err != nil {
			l.fault(item, pattern, err)
			return nil
		}
		if len(names) == 0 {
			l.Wrong(item, fmt.Sprintf("%q matches no file", yamlfile.Clip(pattern)), "* does not look into folders, ** does")
			return nil
		}
	}
	for _, name := range names {
		err := l.dir.check(name)
		if err == nil && !validPath(name) {
			err = fault("has a name that does not work everywhere", "rename the file")
		}
		if err != nil {
			l.fault(item, name, err)
			return nil
		}
	}
	return names
}
