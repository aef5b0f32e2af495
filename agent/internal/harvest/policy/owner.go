package policy

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"unicode"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
	"idlegrid/jobs/yamlfile"
)

// Keys returns the names of all keys, in the order of the docs.
func Keys() []string {
	var names []string
	for _, k := range keys() {
		names = append(names, k.name)
	}
	return names
}

// SetOwner writes a value of the owner's layer into the state folder, as a file has it; nil takes the key out. The caller
// looks first whether the key is locked: a locked one may be set and is ignored. One call at a time. An unknown key, a bad
// value, and a file that is bad already are of kind jobs.Invalid, and change nothing.
func SetOwner(state *os.Root, name string, value *string) error {
	if !slices.Contains(Keys(), name) {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%q is no key of a policy", yamlfile.Clip(name)), "%s", keyHint(name))
	}
	text, err := state.ReadFile(OwnerFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	had, err := decode(text, OwnerFile, Owner)
	if err != nil {
		return jobs.WithHint(err, "mend %s in %s or delete it", OwnerFile, state.Name())
	}
	if value == nil {
		delete(had.set, name)
	} else if err := had.put(name, *value); err != nil {
		return err
	}
	now := had.text()
	if len(now) > maxFile {
		return jobs.Errorf(jobs.Invalid, "%s: with this the owner's policy has more than 64 KiB", name)
	}
	return durable.WriteFile(state, OwnerFile, []byte(now), 0o600)
}

// put sets the value of one key as it is written in a file.
func (l *layer) put(name, value string) error {
	if strings.ContainsFunc(value, unicode.IsControl) {
		return jobs.Errorf(jobs.Invalid, "%s: %q is no value on one line", name, yamlfile.Clip(value))
	}
	text := fmt.Sprintf("%s: %s\n", name, value)
	if group, short, grouped := strings.Cut(name, "."); grouped {
		text = fmt.Sprintf("%s:\n  %s: %s\n", group, short, value)
	}
	one, err := decode([]byte(text), "", Owner)
	var wrong yamlfile.Problems
	if errors.As(err, &wrong) {
		return valueProblem(name, wrong)
	}
	if err == nil && one.set[name] == nil {
		err = jobs.Errorf(jobs.Invalid, "%s: %q is no value", name, yamlfile.Clip(value))
	}
	if err != nil {
		return err
	}
	l.set[name] = one.set[name]
	return nil
}

// valueProblem says what is wrong with a value that stands in no file.
func valueProblem(name string, wrong yamlfile.Problems) error {
	var texts []string
	hint := ""
	for _, p := range wrong {
		texts = append(texts, cmp.Or(p.Field, name)+": "+p.Message)
		hint = cmp.Or(hint, p.Hint)
	}
	err := jobs.Errorf(jobs.Invalid, "%s", strings.Join(texts, "; "))
	if hint == "" {
		return err
	}
	return jobs.WithHint(err, "%s", hint)
}

// text writes the layer as a file.
func (l *layer) text() string {
	var b strings.Builder
	b.WriteString("# What the owner of this PC set. Written by gridagent: comments are lost.\n")
	last := ""
	for _, k := range keys() {
		set := l.set[k.name]
		if set == nil {
			continue
		}
		var v Values
		set(&v)
		name, indent := k.name, ""
		if group, short, grouped := strings.Cut(k.name, "."); grouped {
			if group != last {
				b.WriteString(group + ":\n")
			}
			name, indent, last = short, "  ", group
		}
		fmt.Fprintf(&b, "%s%s: %s\n", indent, name, k.show(&v))
	}
	return b.String()
}
