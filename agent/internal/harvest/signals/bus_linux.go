package signals

import (
	"context"
	"log/slog"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	// callTimeout bounds a call over the bus: whoever takes longer hangs, and what it says is not known.
	callTimeout = 2 * time.Second
	// firstRetry and lastRetry are how long is waited for a bus or a service that is not there.
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// settle is how long events are gathered before the list is read anew: one change comes as several.
	settle = 5 * time.Millisecond
	// relist is how often all is read anew without an event, so that one that was lost does no harm for long.
	relist = 30 * time.Second
)

// listener keeps what a service on the system's bus says up to date by its events.
type listener struct {
	address string // of the bus; empty: the system's own
	service string
	match   []dbus.MatchOption
	// load reads all anew. Its error ends the connection, and a later one is tried.
	load func(ctx context.Context, c *dbus.Conn) error
	lost func() // what was read says nothing any more
	log  *slog.Logger
}

// run listens until the context ends.
func (l *listener) run(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		begun := time.Now()
		err := l.listen(ctx)
		l.lost()
		if ctx.Err() != nil {
			return
		}
		l.log.Debug("the system's bus", "service", l.service, "error", err)
		if time.Since(begun) > lastRetry {
			wait = firstRetry
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// listen returns when the connection is lost, or the service.
func (l *listener) listen(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the connection
	c, err := l.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	events := make(chan *dbus.Signal, 64)
	c.Signal(events)
	if err := c.AddMatchSignalContext(ctx, append([]dbus.MatchOption{dbus.WithMatchSender(l.service)}, l.match...)...); err != nil {
		return err
	}
	for {
		if err := l.loadInTime(ctx, c); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-c.Context().Done():
			return c.Context().Err()
		case <-time.After(relist):
		case _, ok := <-events:
			if !ok {
				return dbus.ErrClosed
			}
			if err := drain(ctx, events); err != nil {
				return err
			}
		}
	}
}

// drain takes the events that come with the first.
func drain(ctx context.Context, events <-chan *dbus.Signal) error {
	timer := time.NewTimer(settle)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		case _, ok := <-events:
			if !ok {
				return dbus.ErrClosed
			}
		}
	}
}

func (l *listener) connect(ctx context.Context) (*dbus.Conn, error) {
	if l.address == "" {
		return dbus.ConnectSystemBus(dbus.WithContext(ctx))
	}
	return dbus.Connect(l.address, dbus.WithContext(ctx))
}

func (l *listener) loadInTime(ctx context.Context, c *dbus.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return l.load(ctx, c)
}

// property reads one property's value, or the zero value where it is not there or of another type.
func property[T any](all map[string]dbus.Variant, name string) T {
	value, _ := all[name].Value().(T)
	return value
}
