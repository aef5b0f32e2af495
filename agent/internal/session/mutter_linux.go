package session

import (
	"context"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	mutter     = "org.gnome.Mutter.IdleMonitor"
	mutterPath = "/org/gnome/Mutter/IdleMonitor/Core"

	// rearm is after what time a watch is set anew: a shell that was restarted has forgotten it.
	rearm = 30 * time.Second
)

// mutterIdle asks GNOME's compositor, which tells of the first input after a while by an event.
type mutterIdle struct {
	bus    *dbus.Conn
	object dbus.BusObject
	events chan *dbus.Signal
	inputs chan struct{}
	done   chan struct{}

	armed time.Time // when the watch was set that has not fired yet; zero: none
	watch uint32
	fired chan uint32
}

func openMutter(ctx context.Context, bus *dbus.Conn) (idler, error) {
	m := &mutterIdle{
		bus: bus, object: bus.Object(mutter, mutterPath),
		events: make(chan *dbus.Signal, 16), inputs: make(chan struct{}, 1), done: make(chan struct{}), fired: make(chan uint32, 16),
	}
	if _, err := m.ask(ctx); err != nil {
		return nil, err
	}
	err := bus.AddMatchSignalContext(ctx, dbus.WithMatchObjectPath(mutterPath), dbus.WithMatchInterface(mutter),
		dbus.WithMatchMember("WatchFired"), dbus.WithMatchSender(mutter))
	if err != nil {
		return nil, err
	}
	bus.Signal(m.events)
	go m.forward()
	return m, nil
}

// forward ends with close.
func (m *mutterIdle) forward() {
	for {
		select {
		case <-m.done:
			return
		case s, ok := <-m.events:
			if !ok {
				return
			}
			if len(s.Body) != 1 {
				continue
			}
			if watch, ok := s.Body[0].(uint32); ok {
				m.tell(watch)
			}
		}
	}
}

func (m *mutterIdle) tell(watch uint32) {
	select {
	case m.fired <- watch:
	default: // more than anybody set
	}
	select {
	case m.inputs <- struct{}{}:
	default: // it is said already
	}
}

func (m *mutterIdle) ask(ctx context.Context) (time.Duration, error) {
	var ms uint64
	err := m.object.CallWithContext(ctx, mutter+".GetIdletime", dbus.FlagNoAutoStart).Store(&ms)
	return time.Duration(min(ms, uint64(longest/time.Millisecond))) * time.Millisecond, err
}

// idle asks how long there was no input. A watch is set only after a beat without: while somebody types it would fire
// at each key.
func (m *mutterIdle) idle(ctx context.Context) (state, error) {
	for len(m.fired) > 0 {
		if <-m.fired == m.watch {
			m.armed = time.Time{}
		}
	}
	idle, err := m.ask(ctx)
	if err != nil {
		return state{}, err
	}
	if idle >= beat && time.Since(m.armed) > rearm {
		if err := m.arm(ctx); err != nil {
			return state{}, err
		}
	}
	return state{input: ago(idle)}, nil
}

func (m *mutterIdle) arm(ctx context.Context) error {
	if !m.armed.IsZero() {
		if err := m.object.CallWithContext(ctx, mutter+".RemoveWatch", dbus.FlagNoAutoStart, m.watch).Err; err != nil {
			return err
		}
	}
	err := m.object.CallWithContext(ctx, mutter+".AddUserActiveWatch", dbus.FlagNoAutoStart).Store(&m.watch)
	if err == nil {
		m.armed = time.Now()
	}
	return err
}

func (m *mutterIdle) input() <-chan struct{} { return m.inputs }

func (m *mutterIdle) close() error {
	m.bus.RemoveSignal(m.events)
	close(m.done)
	return nil
}
