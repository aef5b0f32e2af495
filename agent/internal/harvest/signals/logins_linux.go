package signals

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	logind        = "org.freedesktop.login1"
	logindManager = "/org/freedesktop/login1"
	logindSession = "org.freedesktop.login1.Session"

	// maxLogins bounds how many sessions are looked at. With more the list is not known.
	maxLogins = 512
)

// logins are the sessions that logind lists. Of what it says of them only the positives count: desktops that never
// set the idle hint or the lock are many.
type logins struct {
	listener listener
	changed  func()

	mu    sync.Mutex
	all   []login // guarded by mu
	known bool    // guarded by mu: all is what logind says now
	seen  bool    // guarded by mu: there is a logind here
}

func newLogins(o Options, changed func()) *logins {
	l := &logins{changed: changed}
	l.listener = listener{
		address: o.Bus, service: logind, load: l.load, lost: l.lost, log: o.Log,
		match: []dbus.MatchOption{dbus.WithMatchPathNamespace(logindManager)},
	}
	return l
}

func (l *logins) run(ctx context.Context) { l.listener.run(ctx) }

// at returns the sessions, and false if they are not known.
func (l *logins) at(time.Time) ([]login, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all, l.known
}

// missing says that this machine seems to have no logind at all.
func (l *logins) missing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.seen
}

func (l *logins) lost() {
	l.mu.Lock()
	was := l.known
	l.all, l.known = nil, false
	l.mu.Unlock()
	if was {
		l.changed()
	}
}

// load reads all sessions anew.
func (l *logins) load(ctx context.Context, c *dbus.Conn) error {
	var listed []struct {
		ID   string
		UID  uint32
		User string
		Seat string
		Path dbus.ObjectPath
	}
	if err := c.Object(logind, logindManager).CallWithContext(ctx, logind+".Manager.ListSessions", 0).Store(&listed); err != nil {
		return err
	}
	if len(listed) > maxLogins {
		return errors.New("logind lists too many sessions")
	}
	all := make([]login, 0, len(listed))
	for _, s := range listed {
		var p map[string]dbus.Variant
		call := c.Object(logind, s.Path).CallWithContext(ctx, "org.freedesktop.DBus.Properties.GetAll", 0, logindSession)
		if err := call.Store(&p); err != nil {
			var gone dbus.Error
			if errors.As(err, &gone) {
				continue // it has ended since; an event tells of it
			}
			return err
		}
		if one, ok := loginOf(s.ID, s.UID, p); ok {
			all = append(all, one)
		}
	}
	l.mu.Lock()
	news := !l.known || !sameLogins(l.all, all)
	l.all, l.known, l.seen = all, true, true
	l.mu.Unlock()
	if news {
		l.changed()
	}
	return nil
}

// loginOf reads the properties of one session. It is false for those that no person uses: login screens, service
// managers, what is left of a session that has ended.
func loginOf(id string, uid uint32, p map[string]dbus.Variant) (login, bool) {
	switch property[string](p, "Class") {
	case "greeter", "lock-screen", "background", "background-light", "manager", "manager-early", "none":
		return login{}, false
	default: // "user" and what later versions call people's sessions
	}
	if property[string](p, "State") == "closing" {
		return login{}, false
	}
	l := login{Session: Session{ID: id, User: strconv.FormatUint(uint64(uid), 10), Kind: Terminal}}
	switch property[string](p, "Type") {
	case "x11", "wayland", "mir":
		l.Kind, l.screen = Graphical, true
	}
	if property[bool](p, "Remote") {
		l.Kind = Remote
	}
	if !l.screen {
		l.terminal = property[string](p, "TTY")
	}
	// Of a screen that is switched to another session nobody sees or types anything, and coming back asks for the
	// password.
	seated := len(property[[]any](p, "Seat")) == 2 && property[[]any](p, "Seat")[0] != ""
	away := seated && l.screen && !property[bool](p, "Active")
	l.Locked = property[bool](p, "LockedHint") || away
	if property[bool](p, "IdleHint") {
		l.idle = micros(property[uint64](p, "IdleSinceHint"))
	}
	l.started = micros(property[uint64](p, "Timestamp"))
	return l, true
}

// micros reads a time that D-Bus counts in microseconds since 1970; 0 is none.
func micros(t uint64) time.Time {
	if t == 0 || t > 1<<62 {
		return time.Time{}
	}
	return time.UnixMicro(int64(t))
}

func sameLogins(a, b []login) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
