package node

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"idlegrid/agent/peer/gossip"
)

// drains are the reasons for which this peer takes no ledgers and no blobs from others.
type drains struct {
	mu  sync.Mutex        // guards why
	why map[string]string // cause → a sentence for people
}

// Drain has this peer take nothing more from others, and tells the pool, for a cause that has a name and a sentence
// for people. Word takes its time: who does not know yet is refused. An empty sentence ends the cause; without any left the peer takes things again.
func (n *Node) Drain(cause, why string) {
	n.drains.mu.Lock()
	defer n.drains.mu.Unlock()
	if n.drains.why == nil {
		n.drains.why = map[string]string{}
	}
	if n.drains.why[cause] = why; why == "" {
		delete(n.drains.why, cause)
	}
	draining := len(n.drains.why) > 0
	n.update(func(s *gossip.State) { s.Draining = draining })
}

// Draining returns why this peer takes nothing from others; empty when it does.
func (n *Node) Draining() string {
	n.drains.mu.Lock()
	defer n.drains.mu.Unlock()
	return strings.Join(slices.Sorted(maps.Values(n.drains.why)), "; ")
}
