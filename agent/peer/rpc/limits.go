package rpc

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// limits counts what is held under each name. The names that are held bound its memory.
type limits struct {
	mu   sync.Mutex
	held map[string]int // guarded by mu; never zero
}

// limit is the most that may be held under a name.
type limit struct {
	name string
	most int
}

// take holds one under each name, or none at all if one of them is full. The caller calls release once.
func (l *limits) take(wanted ...limit) (release func(), full string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range wanted {
		if l.held[w.name] >= w.most {
			return nil, w.name
		}
	}
	for _, w := range wanted {
		l.held[w.name]++
	}
	return func() { l.give(wanted) }, ""
}

func (l *limits) give(wanted []limit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, w := range wanted {
		if l.held[w.name]--; l.held[w.name] == 0 {
			delete(l.held, w.name)
		}
	}
}

// hostOf returns what stands for one machine among addresses: the IPv4 address, or the IPv6 network of 64
// bits, of which a single machine can have all addresses.
func hostOf(addr net.Addr) string {
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		if network, err := ip.Prefix(64); err == nil {
			return network.String()
		}
	}
	return ip.String()
}

// drops logs dropped connections, at most one line a second: strangers must not fill the log.
type drops struct {
	log *slog.Logger

	mu      sync.Mutex
	last    time.Time
	skipped int // since the last line
}

func (d *drops) add(from net.Addr, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if !d.last.IsZero() && now.Sub(d.last) < time.Second {
		d.skipped++
		return
	}
	d.log.LogAttrs(context.Background(), slog.LevelDebug, "connection dropped",
		slog.String("from", from.String()), slog.Any("error", err), slog.Int("not_logged", d.skipped))
	d.last, d.skipped = now, 0
}
