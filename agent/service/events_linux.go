package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	login     = "org.freedesktop.login1"
	loginPath = dbus.ObjectPath("/org/freedesktop/login1")
	manager   = login + ".Manager"
	// watchAgain is how long after the bus or logind went away they are tried again.
	watchAgain = 5 * time.Second
	// loginTimeout bounds one call of logind, which answers from memory.
	loginTimeout = 10 * time.Second
	// lateAnswer is how much longer one that is under way may take when this program ends.
	lateAnswer = time.Second
	// maxEvents bounds the signals that wait while the handler works: they are few a day.
	maxEvents = 64
)

// Watch tells handle what is about to happen to the machine until ctx ends, and has the system wait for it: it keeps
// delay locks of logind's while nothing is about to happen. Where there is no logind it tries again, for it may come.
func Watch(ctx context.Context, log *slog.Logger, handle Handler) error {
	w := &watch{log: log, handle: handle, again: watchAgain, late: lateAnswer, connect: func(ctx context.Context) (*dbus.Conn, error) {
		return dbus.ConnectSystemBus(dbus.WithContext(ctx))
	}}
	w.keep(ctx)
	return nil
}

// watch is what Watch knows of logind.
type watch struct {
	log     *slog.Logger
	handle  Handler
	connect func(context.Context) (*dbus.Conn, error)
	again   time.Duration
	late    time.Duration // how long the answer of a call may come after ctx ended

	bus    *dbus.Conn
	locks  []*os.File // logind waits while they are open
	denied bool       // logind gave none
}

// keep watches until ctx ends, again and again.
func (w *watch) keep(ctx context.Context) {
	for last := ""; ctx.Err() == nil; {
		err := w.run(ctx)
		if text := err.Error(); text != last && ctx.Err() == nil { // once each, not every five seconds
			w.log.Warn("cannot see sleep and shutdown of this machine, trying again", "err", err)
			last = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(w.again):
		}
	}
}

// run watches until ctx ends or logind goes away, which is an error.
func (w *watch) run(ctx context.Context) error {
	// Once there is a bus it ends with this function, and not with ctx: see inhibit.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	connected := context.AfterFunc(ctx, end)
	bus, err := w.connect(life)
	if err != nil {
		return fmt.Errorf("system bus: %w", err)
	}
	connected()
	defer bus.Close()
	w.bus, w.denied = bus, false
	signals := make(chan *dbus.Signal, maxEvents)
	bus.Signal(signals)
	for _, member := range []string{"PrepareForSleep", "PrepareForShutdown"} {
		err := bus.AddMatchSignalContext(ctx, dbus.WithMatchSender(login), dbus.WithMatchInterface(manager), dbus.WithMatchMember(member))
		if err != nil {
			return fmt.Errorf("watch logind: %w", err)
		}
	}
	err = bus.AddMatchSignalContext(ctx, dbus.WithMatchSender("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, login))
	if err != nil {
		return fmt.Errorf("watch logind: %w", err)
	}
	defer w.release()
	if err := w.delay(ctx); err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case s, ok := <-signals:
			if !ok {
				return errors.New("the system bus went away")
			}
			if err := w.take(ctx, s); err != nil {
				return err
			}
		}
	}
}

// take handles one signal.
func (w *watch) take(ctx context.Context, s *dbus.Signal) error {
	sleep := s.Name == manager+".PrepareForSleep"
	switch {
	case s.Name == "org.freedesktop.DBus.NameOwnerChanged":
		return errors.New("logind went away or came back")
	case !sleep && s.Name != manager+".PrepareForShutdown":
		return nil // the bus tells a newcomer its name
	}
	about := false
	if err := dbus.Store(s.Body, &about); err != nil {
		return fmt.Errorf("signal %s: %w", s.Name, err)
	}
	switch {
	case about && sleep:
		w.handle(Suspend)
	case about:
		w.handle(Shutdown)
	case sleep:
		defer w.handle(Resume) // after the lock: the next sleep waits as well
	}
	if about {
		w.release()
		return nil
	}
	return w.delay(ctx)
}

// delay has logind wait before sleep and shutdown, unless it does. Where that is refused, which the system's policy may
// do, the events come all the same, and are late.
func (w *watch) delay(ctx context.Context) error {
	if len(w.locks) > 0 || w.denied {
		return nil
	}
	// One lock each: of one for both logind thinks as of one for the lid, which only people at the machine may have.
	for _, what := range []string{"sleep", "shutdown"} {
		if err := ctx.Err(); err != nil {
			return err
		}
		lock, err := w.inhibit(ctx, what)
		var refused dbus.Error
		if errors.As(err, &refused) && refused.Name == "org.freedesktop.DBus.Error.AccessDenied" {
			w.denied = true
			w.log.Warn("the system does not wait: work since the last checkpoint may be lost", "before", what, "err", err)
			continue
		}
		if err != nil {
			return fmt.Errorf("ask logind to wait before %s: %w", what, err)
		}
		w.locks = append(w.locks, lock)
	}
	return nil
}

// inhibit asks for one lock. When ctx ends it waits a little longer: the answer to a call that was given up, and what is
// half read when a bus is closed, would leave the lock open until this process ends.
func (w *watch) inhibit(ctx context.Context, what string) (*os.File, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, loginTimeout, errors.New("logind does not answer"))
	defer cancel()
	call := w.bus.Object(login, loginPath).Go(manager+".Inhibit", 0, make(chan *dbus.Call, 1),
		what, "idlegrid", "Saves the work of the grid", "delay")
	select {
	case <-call.Done:
	case <-ctx.Done():
		select {
		case <-call.Done:
		case <-time.After(w.late):
			_ = w.bus.Close() // which ends the call; an error of it is no news
			<-call.Done
		}
	}
	var fd dbus.UnixFD
	if err := call.Store(&fd); err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	return os.NewFile(uintptr(fd), "logind's delay lock"), nil
}

// release lets the system go on.
func (w *watch) release() {
	for _, lock := range w.locks {
		if err := lock.Close(); err != nil {
			w.log.Warn("the system may wait a little for nothing", "err", err)
		}
	}
	w.locks = nil
}
