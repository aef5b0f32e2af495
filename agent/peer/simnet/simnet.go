// Package simnet is a network in memory, for tests in virtual time: hosts with packets and streams, latency,
// loss, partitions and power cuts.
//
// It behaves like an office's network where that matters to those who use it: packets are dropped when a
// receiver is slow, lost at random, and never block the sender; streams keep their order, push back, obey
// deadlines, and hang rather than break when the way is cut. What is sent after a cut goes through once it
// heals. Everything blocks on channels and timers only, so that it works in a synctest bubble, and in real
// time too.
//
// It does not model bandwidth, reordering within a stream, or routes. Everything here is safe for
// concurrent use.
package simnet

import (
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"
)

// retry is how often a stream or a dialler tries again where the way is cut.
const retry = 200 * time.Millisecond

// Network joins hosts.
type Network struct {
	latency time.Duration

	mu    sync.Mutex // guards everything below; nothing waits while it is held
	rand  *rand.Rand
	loss  float64
	lost  int // packets so far
	hosts map[netip.Addr]*Host
	cuts  map[[2]netip.Addr]struct{}
}

// New returns a network without hosts. A packet or a piece of a stream takes latency from one host to
// another. The seed makes the choice of lost packets; their order under concurrency is not repeatable.
func New(latency time.Duration, seed uint64) *Network {
	return &Network{
		latency: latency,
		rand:    rand.New(rand.NewPCG(seed, seed)), // loses packets, keeps no secret
		hosts:   make(map[netip.Addr]*Host), cuts: make(map[[2]netip.Addr]struct{}),
	}
}

// Host returns the running host with that IP address, and starts one where there is none. It panics on text
// that is no IP address.
func (n *Network) Host(ip string) *Host {
	addr := netip.MustParseAddr(ip)
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[addr]
	if h == nil {
		h = newHost(n, addr)
		n.hosts[addr] = h
	}
	return h
}

// SetLoss makes the network lose that share of the packets from now on. Streams are not affected: TCP
// would send again.
func (n *Network) SetLoss(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.loss = share
}

// Partition cuts every way between a host in as and a host in bs.
func (n *Network) Partition(as, bs []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range as {
		for _, b := range bs {
			n.cuts[pair(netip.MustParseAddr(a), netip.MustParseAddr(b))] = struct{}{}
		}
	}
}

// Heal mends every cut.
func (n *Network) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cuts)
}

// Stop cuts the host's power: its own connections fail with net.ErrClosed, the other ends hear nothing any
// more. A host that Host starts later at the same address knows nothing of the old one.
func (n *Network) Stop(ip string) {
	addr := netip.MustParseAddr(ip)
	n.mu.Lock()
	h := n.hosts[addr]
	delete(n.hosts, addr)
	n.mu.Unlock()
	if h != nil {
		h.stop()
	}
}

func pair(a, b netip.Addr) [2]netip.Addr {
	if b.Less(a) {
		a, b = b, a
	}
	return [2]netip.Addr{a, b}
}

// connected reports whether what one host sends reaches the other, both of them being the ones that run.
func (n *Network) connected(from, to *Host) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, cut := n.cuts[pair(from.ip, to.ip)]
	return !cut && n.hosts[from.ip] == from && n.hosts[to.ip] == to
}

// reach returns the host at the address if from reaches it.
func (n *Network) reach(from *Host, to netip.Addr) (*Host, bool) {
	n.mu.Lock()
	h := n.hosts[to]
	n.mu.Unlock()
	return h, h != nil && n.connected(from, h)
}

// Sent returns how many bytes the host with that IP address has sent since it was started.
func (n *Network) Sent(ip string) int64 { return n.Host(ip).sent.Load() }

// Lost returns how many packets the network has lost at random.
func (n *Network) Lost() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.lost
}

// loses decides whether a packet is lost.
func (n *Network) loses() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.loss == 0 || n.rand.Float64() >= n.loss {
		return false
	}
	n.lost++
	return true
}

// delay is the time between two hosts; a host reaches itself at once.
func (n *Network) delay(from, to netip.Addr) time.Duration {
	if from == to {
		return 0
	}
	return n.latency
}
