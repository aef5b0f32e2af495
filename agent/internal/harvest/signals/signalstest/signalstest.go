// Package signalstest has a D-Bus of its own for tests, and the services on it that the owner's side listens to:
// logind, and the idle monitor of a desktop.
package signalstest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/godbus/dbus/v5/prop"
)

const busConfig = `<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
`

// Bus starts a dbus-daemon that ends with the test, and returns its address. Without one the test is skipped.
func Bus(t testing.TB) string {
	t.Helper()
	address, _ := StartBus(t)
	return address
}

// StartBus is Bus with a function that ends the bus before the test does.
func StartBus(t testing.TB) (address string, stop func()) {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("SKIPPED: no dbus-daemon here (Debian: apt install dbus)")
	}
	dir, err := os.MkdirTemp("", "bus") // short: systems bound the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // what is left is in the folder for such
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, filepath.Join(dir, "bus")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile", "--print-address=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // it says that it was killed
	})
	t.Cleanup(stop)
	address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("dbus-daemon: %v", err)
	}
	return strings.TrimSpace(address), stop
}

// connect returns a connection that owns a name until the test ends.
func connect(t testing.TB, address, name string) *dbus.Conn {
	t.Helper()
	c, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the bus may be gone
	if reply, err := c.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatalf("own %s: %v, %v", name, reply, err)
	}
	return c
}

// Mutter is the idle monitor of GNOME's compositor.
type Mutter struct {
	conn *dbus.Conn

	mu      sync.Mutex
	last    time.Time       // guarded by mu: of the last input
	watches map[uint32]bool // guarded by mu: those of the next input
	next    uint32          // guarded by mu
}

const (
	mutterName = "org.gnome.Mutter.IdleMonitor"
	mutterPath = "/org/gnome/Mutter/IdleMonitor/Core"
)

// NewMutter serves on a bus, of a session that had no input for some time.
func NewMutter(t testing.TB, address string, idle time.Duration) *Mutter {
	t.Helper()
	m := &Mutter{conn: connect(t, address, mutterName), last: time.Now().Add(-idle), watches: map[uint32]bool{}}
	if err := m.conn.Export(mutterService{m}, mutterPath, mutterName); err != nil {
		t.Fatal(err)
	}
	return m
}

// Input is a key or a move of the pointer: the next one after a watch was set fires it.
func (m *Mutter) Input() error {
	m.mu.Lock()
	m.last = time.Now()
	fired := m.watches
	m.watches = map[uint32]bool{}
	m.mu.Unlock()
	for watch := range fired {
		if err := m.conn.Emit(mutterPath, mutterName+".WatchFired", watch); err != nil {
			return err
		}
	}
	return nil
}

// Rest makes the last input lie some time in the past.
func (m *Mutter) Rest(idle time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last = time.Now().Add(-idle)
}

// Watched reports whether somebody waits for the next input.
func (m *Mutter) Watched() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.watches) > 0
}

// mutterService has the methods that are called over the bus.
type mutterService struct{ m *Mutter }

// GetIdletime returns milliseconds.
func (s mutterService) GetIdletime() (uint64, *dbus.Error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return uint64(time.Since(s.m.last).Milliseconds()), nil
}

// AddUserActiveWatch returns the number of a watch that fires once.
func (s mutterService) AddUserActiveWatch() (uint32, *dbus.Error) {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	s.m.next++
	s.m.watches[s.m.next] = true
	return s.m.next, nil
}

// RemoveWatch forgets a watch.
func (s mutterService) RemoveWatch(watch uint32) *dbus.Error {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	delete(s.m.watches, watch)
	return nil
}

// Logind lists sessions.
type Logind struct {
	t    testing.TB
	conn *dbus.Conn

	mu   sync.Mutex
	all  []listed                    // guarded by mu
	prop map[string]*prop.Properties // guarded by mu
}

type listed struct {
	ID   string
	UID  uint32
	User string
	Seat string
	Path dbus.ObjectPath
}

const (
	logindName    = "org.freedesktop.login1"
	logindPath    = "/org/freedesktop/login1"
	logindSession = logindName + ".Session"
)

// NewLogind serves on a bus, with nobody logged in.
func NewLogind(t testing.TB, address string) *Logind {
	t.Helper()
	l := &Logind{t: t, conn: connect(t, address, logindName), prop: map[string]*prop.Properties{}}
	if err := l.conn.Export(logindService{l}, logindPath, logindName+".Manager"); err != nil {
		t.Fatal(err)
	}
	return l
}

// Add logs somebody in. Properties are those of logind's interface Session; Class user and State active need not be
// said.
func (l *Logind) Add(id string, uid uint32, properties map[string]any) {
	l.t.Helper()
	all := map[string]any{"Class": "user", "State": "active", "Active": true, "LockedHint": false, "IdleHint": false, "IdleSinceHint": uint64(0)}
	for name, value := range properties {
		all[name] = value
	}
	served := map[string]*prop.Prop{}
	for name, value := range all {
		served[name] = &prop.Prop{Value: value, Emit: prop.EmitTrue}
	}
	path := dbus.ObjectPath(logindPath + "/session/_3" + id)
	props, err := prop.Export(l.conn, path, prop.Map{logindSession: served})
	if err != nil {
		l.t.Fatal(err)
	}
	l.mu.Lock()
	l.all = append(l.all, listed{ID: id, UID: uid, Path: path})
	l.prop[id] = props
	l.mu.Unlock()
	l.emit("SessionNew", id, path)
}

// Set changes a property of a session, and tells of it.
func (l *Logind) Set(id, name string, value any) {
	l.mu.Lock()
	props := l.prop[id]
	l.mu.Unlock()
	props.SetMust(logindSession, name, value)
}

// Remove logs somebody out.
func (l *Logind) Remove(id string) {
	l.t.Helper()
	l.mu.Lock()
	for i, s := range l.all {
		if s.ID == id {
			l.all = append(l.all[:i:i], l.all[i+1:]...)
			break
		}
	}
	l.mu.Unlock()
	l.emit("SessionRemoved", id, dbus.ObjectPath(logindPath+"/session/_3"+id))
}

// Stop takes logind off the bus.
func (l *Logind) Stop() error { return l.conn.Close() }

func (l *Logind) emit(signal, id string, path dbus.ObjectPath) {
	l.t.Helper()
	if err := l.conn.Emit(logindPath, logindName+".Manager."+signal, id, path); err != nil {
		l.t.Fatal(err)
	}
}

// logindService has the methods that are called over the bus.
type logindService struct{ l *Logind }

// ListSessions returns all sessions.
func (s logindService) ListSessions() ([]listed, *dbus.Error) {
	s.l.mu.Lock()
	defer s.l.mu.Unlock()
	return append([]listed{}, s.l.all...), nil
}
