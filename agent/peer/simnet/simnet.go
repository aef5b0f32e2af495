// Package simnet is a network in memory, for tests in virtual time: hosts with packets and streams, latency,
// loss, duplicates, partitions and power cuts.
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
	mu      sync.Mutex // guards everything below; nothing waits while it is held
	rand    *rand.Rand
	latency time.Duration
	jitter  time.Duration
	loss    float64
	twice   float64
	counts  Counts
	hosts   map[netip.Addr]*Host
	cuts    map[way]struct{}
}

// way leads from one host to another; the way back is another one.
type way struct{ from, to netip.Addr }

// Counts is what a network has done to those who use it, so far.
type Counts struct {
	Lost    int // packets, at random
	Twice   int // packets that were delivered twice
	Late    int // packets and pieces of streams that took longer than the network's own latency
	Stopped int // packets and pieces of streams that came upon a cut; a piece is counted at each try
}

// New returns a network without hosts. A packet or a piece of a stream takes latency from one host to
// another. The seed makes the choice of lost packets; their order under concurrency is not repeatable.
func New(latency time.Duration, seed uint64) *Network {
	return &Network{
		latency: latency,
		rand:    rand.New(rand.NewPCG(seed, seed)), // loses packets, keeps no secret
		hosts:   make(map[netip.Addr]*Host), cuts: make(map[way]struct{}),
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

// SetDuplicates makes the network deliver that share of the packets twice from now on, the second time up to
// half a second later, behind packets that were sent after it.
func (n *Network) SetDuplicates(share float64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.twice = share
}

// SetJitter makes everything take up to so much longer than the network's latency from now on: packets overtake
// each other then.
func (n *Network) SetJitter(most time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.jitter = most
}

// Partition cuts every way between a host in as and a host in bs.
func (n *Network) Partition(as, bs []string) {
	n.CutWays(as, bs)
	n.CutWays(bs, as)
}

// CutWays cuts the ways from a host in froms to a host in tos, and leaves those back. No stream can be opened over a
// pair of hosts then, in either direction; over an open one the direction that is left goes on.
func (n *Network) CutWays(froms, tos []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, from := range froms {
		for _, to := range tos {
			n.cuts[way{netip.MustParseAddr(from), netip.MustParseAddr(to)}] = struct{}{}
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

// connected reports whether what one host sends reaches the other, both of them being the ones that run.
func (n *Network) connected(from, to *Host) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, cut := n.cuts[way{from.ip, to.ip}]
	if cut {
		n.counts.Stopped++
	}
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

// Counts returns what the network has done so far.
func (n *Network) Counts() Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts
}

// maxBehind is how much later than the first the second copy of a packet comes at most.
const maxBehind = 500 * time.Millisecond

// copies decides how often a packet arrives, and how much later than the first the second copy does.
func (n *Network) copies() (times int, behind time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.loss > 0 && n.rand.Float64() < n.loss:
		n.counts.Lost++
		return 0, 0
	case n.twice > 0 && n.rand.Float64() < n.twice:
		n.counts.Twice++
		return 2, time.Duration(n.rand.Int64N(int64(maxBehind)))
	default:
		return 1, 0
	}
}

// delay is the time between two hosts; a host reaches itself at once.
func (n *Network) delay(from, to netip.Addr) time.Duration {
	if from == to {
		return 0
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.jitter == 0 {
		return n.latency
	}
	n.counts.Late++
	return n.latency + time.Duration(n.rand.Int64N(int64(n.jitter)))
}
