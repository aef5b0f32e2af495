package signals

import (
	"context"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	networkManager     = "org.freedesktop.NetworkManager"
	networkManagerPath = "/org/freedesktop/NetworkManager"

	// meteredYes and meteredGuessYes are NMMetered's values for a network that costs, said or guessed.
	meteredYes, meteredGuessYes = 1, 3
)

// metered is whether the network costs by the byte, which NetworkManager knows. Without it nobody does.
type metered struct {
	listener listener
	changed  func()

	mu    sync.Mutex
	value bool // guarded by mu
	known bool // guarded by mu
}

func newMetered(o Options, changed func()) *metered {
	m := &metered{changed: changed}
	m.listener = listener{
		address: o.Bus, service: networkManager, load: m.load, lost: m.lost, log: o.Log,
		match: []dbus.MatchOption{dbus.WithMatchObjectPath(networkManagerPath), dbus.WithMatchMember("PropertiesChanged")},
	}
	return m
}

func (m *metered) run(ctx context.Context) { m.listener.run(ctx) }

func (m *metered) at(now time.Time) Reading[bool] {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Reading[bool]{Value: m.value, At: now, None: !m.known}
}

func (m *metered) lost() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.value, m.known = false, false
}

func (m *metered) load(ctx context.Context, c *dbus.Conn) error {
	var v dbus.Variant
	call := c.Object(networkManager, networkManagerPath).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get",
		dbus.FlagNoAutoStart, networkManager, "Metered")
	if err := call.Store(&v); err != nil {
		return err
	}
	code, _ := v.Value().(uint32)
	m.mu.Lock()
	before := m.value
	m.value, m.known = code == meteredYes || code == meteredGuessYes, true
	news := before != m.value
	m.mu.Unlock()
	if news {
		m.changed()
	}
	return nil
}
