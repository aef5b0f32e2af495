//go:build unix

package signals

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxTerminals bounds how many devices are looked at.
const maxTerminals = 1024

// terminals tell when a key was last used in them by the time of last access of their devices, which the system keeps
// for programs such as w. Linux is exact for the first key after eight seconds, and coarse while somebody types.
type terminals struct{ dev string }

func newTerminals(o Options) *terminals { return &terminals{dev: filepath.Join(o.Root, "dev")} }

// lastInput returns when a key was last used in a session's terminal: in its own one, or, of a session from afar for
// which none is known, in any of its user's. Where there is none nobody can type: the time is that of the login. It
// is zero for desktops.
func (t *terminals) lastInput(l login) time.Time {
	if l.screen {
		return time.Time{}
	}
	if l.terminal != "" && filepath.IsLocal(l.terminal) {
		if at, _, ok := used(filepath.Join(t.dev, l.terminal)); ok {
			return at
		}
	}
	if l.Kind != Remote {
		return time.Time{}
	}
	last := l.started
	for _, name := range t.pseudo() {
		if at, user, ok := used(name); ok && user == l.User && at.After(last) {
			last = at
		}
	}
	return last
}

// logins returns a session for each pseudo terminal, where nobody lists sessions.
func (t *terminals) logins() []login {
	var all []login
	for _, name := range t.pseudo() {
		if _, user, ok := used(name); ok {
			terminal := "pts/" + filepath.Base(name)
			all = append(all, login{Session: Session{ID: terminal, User: user, Kind: Terminal}, terminal: terminal})
		}
	}
	return all
}

// pseudo returns the devices of pseudo terminals.
func (t *terminals) pseudo() []string {
	f, err := os.Open(filepath.Join(t.dev, "pts"))
	if err != nil {
		return nil // there are none
	}
	defer f.Close()
	names, _ := f.Readdirnames(maxTerminals) // what could be read counts
	var all []string
	for _, name := range names {
		if _, err := strconv.ParseUint(name, 10, 32); err == nil {
			all = append(all, filepath.Join(t.dev, "pts", name))
		}
	}
	return all
}

// used returns when a device was last read from, and whose it is.
func used(path string) (at time.Time, user string, ok bool) {
	var s unix.Stat_t
	if err := unix.Stat(path, &s); err != nil {
		return time.Time{}, "", false
	}
	return time.Unix(s.Atim.Unix()), strconv.FormatUint(uint64(s.Uid), 10), true
}
