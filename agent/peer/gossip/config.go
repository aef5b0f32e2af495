package gossip

import (
	"log"
	"time"

	"github.com/hashicorp/memberlist"
)

// config returns memberlist's settings: few packets and little CPU, because leases and not gossip detect a
// death that matters. They are the same at every size of the pool.
func (g *Gossip) config() *memberlist.Config {
	c := memberlist.DefaultLANConfig()
	c.Name = g.name
	d := &delegate{g: g, verifier: newVerifier(g.opts.VerifyVoucher)}
	c.Delegate, c.Events, c.Alive, c.Merge, c.Conflict = d, d, d, d, d
	c.Transport = g.transport
	c.Logger = log.New(&logWriter{log: g.log}, "", 0)

	// A minute costs 0.02 CPU seconds, against 0.15 with memberlist's settings for a LAN.
	c.GossipInterval = time.Second
	c.ProbeInterval = 5 * time.Second
	c.PushPullInterval = time.Minute
	// A desktop that is busy or just waking may take long to answer. The four seconds that are left of the
	// interval are for the probes through others and over a stream.
	c.ProbeTimeout = time.Second
	// memberlist slows its probes down when it finds itself slow; its eightfold would be 40 s here.
	c.AwarenessMaxMultiplier = 4
	// With probes each 5 s a suspect has 20 s to answer (54 s in a pool of 500) when others suspect it too,
	// and three times that when nobody does; memberlist's sixfold is for probes each second.
	c.SuspicionMult, c.SuspicionMaxTimeoutMult = 4, 3
	// Each member sends a change 4 x ceil(log10(N+1)) times. Of bursts of joins into pools of 5 to 20 one in
	// 20 is then complete with the next push-pull only; 6 would make it one in 100, for half more traffic
	// (measured).
	c.RetransmitMult, c.GossipNodes = 4, 3
	// Long enough for a member cut off for half a minute to hear that it is called dead, and to object.
	c.GossipToTheDeadTime = time.Minute
	// A name is used for one run at one address: a dead one is not taken over.
	c.DeadNodeReclaimTime = 0
	// LZW was most of the CPU time, and decompression is where a bomb would go off.
	c.EnableCompression = false
	// The start of a working day brings a burst of joins that the default of 1,024 drops.
	c.HandoffQueueDepth = 4096
	// Fits an Ethernet frame, so that nothing is fragmented.
	c.UDPBufferSize = 1400
	c.TCPTimeout = streamTimeout

	c.Keyring = g.keyring()
	c.GossipVerifyIncoming, c.GossipVerifyOutgoing = true, true
	return c
}

// streamTimeout bounds dialling and each exchange over a stream.
const streamTimeout = 10 * time.Second

// keyring cannot fail: Validate looked at the keys' sizes.
func (g *Gossip) keyring() *memberlist.Keyring {
	ring, err := memberlist.NewKeyring(g.opts.Secrets, g.opts.Secrets[0])
	if err != nil {
		panic(err)
	}
	return ring
}
