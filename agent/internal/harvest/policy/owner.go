package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode"

	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
)

// SetOwner writes a value of the owner's layer into the state folder; an empty one takes the key out. The value is
// written as in a file. The caller looks first whether the key is locked: a locked one may be set and is ignored. An
// unknown key or a bad value is of kind jobs.Invalid and changes nothing.
func SetOwner(state *os.Root, name, value string) error {
	text, err := state.ReadFile(OwnerFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	had, err := decode(text, OwnerFile, Owner)
	if err != nil {
		return jobs.WithHint(err, "mend %s in %s or delete it", OwnerFile, state.Name())
	}
	if value == "" {
		delete(had.set, name)
	} else if err := had.put(name, value); err != nil {
		return err
	}
	return durable.WriteFile(state, OwnerFile, []byte(had.text()), 0o600)
}

// put sets the value of one key as it is written in a file.
func (l *layer) put(name, value string) error {
	if strings.ContainsFunc(value, unicode.IsControl) {
		return jobs.Errorf(jobs.Invalid, "%s: %q is no value on one line", name, value)
	}
	text := fmt.Sprintf("%s: %s\n", name, value)
	if group, short, grouped := strings.Cut(name, "."); grouped {
		text = fmt.Sprintf("%s:\n  %s: %s\n", group, short, value)
	}
	one, err := decode([]byte(text), "the new value", Owner)
	if err != nil {
		return err
	}
	if one.set[name] == nil {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%q is no key of a policy", name), "`gridagent policy show` lists all keys")
	}
	l.set[name] = one.set[name]
	return nil
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
