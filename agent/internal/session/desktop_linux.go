package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/godbus/dbus/v5"

	"idlegrid/jobs"
)

// idler tells when there was input. It is what differs between desktops.
type idler interface {
	idle(ctx context.Context) (state, error)
	input() <-chan struct{}
	close() error
}

// linuxDesktop is a desktop on Linux. Whether it is locked logind tells the agent.
type linuxDesktop struct {
	idler
	bus *dbus.Conn // of the session
}

// openDesktop takes the first way to learn of input that this desktop has.
func openDesktop(ctx context.Context, log *slog.Logger) (desktop, error) {
	bus, err := dbus.ConnectSessionBus(dbus.WithContext(ctx))
	if err != nil {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Unavailable, "reach the session's bus: %w", err),
			"the helper is for a user's session: DBUS_SESSION_BUS_ADDRESS names its bus")
	}
	var tried error
	for _, way := range []struct {
		name string
		open func(context.Context, *dbus.Conn) (idler, error)
	}{
		{"Mutter's idle monitor", openMutter},
		{"Wayland's ext-idle-notify-v1", openWayland},
		{"the desktop's screen saver", openScreenSaver},
		{"X11's screen saver", openX11},
	} {
		timely, cancel := context.WithTimeout(ctx, lookTimeout)
		i, err := way.open(timely, bus)
		cancel()
		if err == nil {
			log.Info("reports to the agent", "by", way.name)
			return &linuxDesktop{i, bus}, nil
		}
		tried = errors.Join(tried, fmt.Errorf("%s: %w", way.name, err))
	}
	return nil, errors.Join(jobs.Errorf(jobs.Unavailable, "this desktop tells nobody of input: %w", tried), bus.Close())
}

func (d *linuxDesktop) look(ctx context.Context) (state, error) {
	s, err := d.idle(ctx)
	if d.bus.Context().Err() != nil || errors.Is(err, dbus.ErrClosed) {
		return state{}, errEnded
	}
	if err != nil {
		return state{}, err
	}
	if s.presenting == nil || !*s.presenting {
		if kept := keptAwake(ctx, d.bus); kept != nil {
			s.presenting = kept
		}
	}
	return s, nil
}

func (d *linuxDesktop) close() error {
	return errors.Join(d.idler.close(), d.bus.Close())
}

// inhibitIdle is GNOME's flag for "the session does not become idle".
const inhibitIdle = 8

// keptAwake reports whether a program keeps the screen on, as presentations, calls and films do; nil: nobody knows.
func keptAwake(ctx context.Context, bus *dbus.Conn) *bool {
	var v dbus.Variant
	gnome := bus.Object("org.gnome.SessionManager", "/org/gnome/SessionManager").CallWithContext(ctx,
		"org.freedesktop.DBus.Properties.Get", dbus.FlagNoAutoStart, "org.gnome.SessionManager", "InhibitedActions")
	if gnome.Store(&v) == nil {
		flags, ok := v.Value().(uint32)
		kept := flags&inhibitIdle != 0
		if ok {
			return &kept
		}
	}
	var kept bool
	others := bus.Object("org.freedesktop.PowerManagement", "/org/freedesktop/PowerManagement/Inhibit").CallWithContext(ctx,
		"org.freedesktop.PowerManagement.Inhibit.HasInhibit", dbus.FlagNoAutoStart)
	if others.Store(&kept) == nil {
		return &kept
	}
	return nil
}

// x11Only reports whether the desktop is one of X11: in one of Wayland, X11 sees the input of its own windows only.
func x11Only() bool { return os.Getenv("DISPLAY") != "" && os.Getenv("WAYLAND_DISPLAY") == "" }
