package session

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"
)

// longest is the most that an idle time is believed to be.
const longest = 365 * 24 * time.Hour

// screenSaver asks what KDE and some others offer beside the standard. It counts in milliseconds, though an old draft
// says seconds; a desktop that keeps to that is taken for one in use.
type screenSaver struct{ object dbus.BusObject }

func openScreenSaver(ctx context.Context, bus *dbus.Conn) (idler, error) {
	s := &screenSaver{bus.Object("org.freedesktop.ScreenSaver", "/org/freedesktop/ScreenSaver")}
	_, err := s.idle(ctx)
	return s, err
}

func (s *screenSaver) idle(ctx context.Context) (state, error) {
	var ms uint32
	err := s.object.CallWithContext(ctx, "org.freedesktop.ScreenSaver.GetSessionIdleTime", dbus.FlagNoAutoStart).Store(&ms)
	return state{input: ago(time.Duration(ms) * time.Millisecond)}, err
}

func (*screenSaver) input() <-chan struct{} { return nil }

func (*screenSaver) close() error { return nil }
