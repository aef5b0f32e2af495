package signals

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

const (
	// infoUser and infoProtocol are of the enumeration WTS_INFO_CLASS; protocol 0 is the machine's own screen.
	infoUser, infoProtocol = 5, 16

	// maxName bounds a user's name, in UTF-16 units.
	maxName = 256
)

// querySession is WTSQuerySessionInformationW, which x/sys does not have.
var querySession = windows.NewLazySystemDLL("wtsapi32.dll").NewProc("WTSQuerySessionInformationW")

// logins are the sessions that Windows lists. Whether one is locked, and its input, its helper tells.
type logins struct {
	mu    sync.Mutex
	all   []login   // guarded by mu
	known bool      // guarded by mu
	read  time.Time // guarded by mu
}

func newLogins(Options, func()) *logins { return &logins{} }

func (*logins) run(context.Context) {} // they are read when they are asked for

func (*logins) missing() bool { return false }

// at returns the sessions that somebody is logged in to. One that is disconnected has no screen and no keys.
func (l *logins) at(now time.Time) ([]login, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if age := now.Sub(l.read); age >= 0 && age < often {
		return l.all, l.known
	}
	l.read = now
	all, err := listSessions()
	l.all, l.known = all, err == nil // not known: nothing is run
	return l.all, l.known
}

func listSessions() ([]login, error) {
	var first *windows.WTS_SESSION_INFO
	var n uint32
	if err := windows.WTSEnumerateSessions(0, 0, 1, &first, &n); err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(first)))
	var all []login
	for _, s := range unsafe.Slice(first, n) {
		if s.State != windows.WTSActive {
			continue
		}
		user, err := queryString(s.SessionID, infoUser)
		if err != nil {
			return nil, err
		}
		if user == "" {
			continue // the login screen
		}
		l := login{Session: Session{ID: strconv.FormatUint(uint64(s.SessionID), 10), Kind: Graphical}, screen: true}
		if remote, err := queryRemote(s.SessionID); err != nil {
			return nil, err
		} else if remote {
			l.Kind = Remote
		}
		all = append(all, l)
	}
	return all, nil
}

func queryString(session, info uint32) (string, error) {
	var text string
	err := query(session, info, func(buffer *uint16, bytes uint32) {
		text = windows.UTF16ToString(unsafe.Slice(buffer, min(bytes/2, maxName)))
	})
	return text, err
}

func queryRemote(session uint32) (bool, error) {
	var remote bool
	err := query(session, infoProtocol, func(buffer *uint16, bytes uint32) { remote = bytes >= 2 && *buffer != 0 })
	return remote, err
}

// query calls f with what Windows says of a session.
func query(session, info uint32, f func(buffer *uint16, bytes uint32)) error {
	var buffer *uint16
	var bytes uint32
	ok, _, err := querySession.Call(0, uintptr(session), uintptr(info),
		uintptr(unsafe.Pointer(&buffer)), uintptr(unsafe.Pointer(&bytes)))
	if ok == 0 {
		return fmt.Errorf("ask for session %d: %w", session, err)
	}
	defer windows.WTSFreeMemory(uintptr(unsafe.Pointer(buffer)))
	f(buffer, bytes)
	return nil
}
