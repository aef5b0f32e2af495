package gossip

import (
	"crypto/ed25519"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

const (
	// grace is how far clocks in an office may differ.
	grace = 10 * time.Minute
	// maxRuns is how many runs of one agent are taken in as fast as it starts them, and runEvery spaces the others:
	// memberlist remembers each name until its probes have gone round, which are 42 minutes in a pool of 500, so one
	// that floods the pool with them is held up here.
	maxRuns  = 64
	runEvery = 5 * time.Second
	// warnEvery spaces warnings of one kind.
	warnEvery = time.Minute
	// maxKnown bounds the verified metas that are remembered: a few for each member of a full pool.
	maxKnown = 4096
)

// delegate is what memberlist calls, mostly with its lock held: nothing here calls memberlist, waits, or
// calls the program that uses this package.
type delegate struct {
	g        *Gossip
	verifier *verifier
}

// NodeMeta returns what this member says of itself.
func (d *delegate) NodeMeta(int) []byte {
	d.g.mu.Lock()
	defer d.g.mu.Unlock()
	return d.g.meta
}

// GetBroadcasts returns nothing: nothing but membership is spread by gossip.
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState returns nothing: push-pull carries membership alone.
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState ignores what LocalState never sends.
func (d *delegate) MergeRemoteState([]byte, bool) {}

// NotifyAlive decides whether somebody may be a member. It is asked about every claim, from packets and
// from push-pull.
func (d *delegate) NotifyAlive(n *memberlist.Node) error {
	if n.Name == d.g.name {
		return nil // our own word, or one about us, which memberlist refutes
	}
	err := d.admit(n)
	if err != nil {
		d.g.stats.refused.Add(1)
	}
	return err
}

func (d *delegate) admit(n *memberlist.Node) error {
	if err := compatible(n); err != nil {
		return err
	}
	c, err := d.verifier.verify(n)
	if err != nil {
		if jobs.KindOf(err) == jobs.Denied {
			d.strange(n)
		}
		return err
	}
	if expired(c.Voucher.NotAfter, time.Now()) {
		return jobs.Errorf(jobs.Expired, "voucher ended at %s", c.Voucher.NotAfter)
	}
	id, boot, err := parseName(n.Name)
	if err != nil {
		return err
	}
	return d.g.roster.admits(id, boot, time.Now())
}

// strange remembers where to ask a member for who certified it.
func (d *delegate) strange(n *memberlist.Node) {
	addr, err := addressOf(n)
	if err != nil {
		return // cannot be: verify read it
	}
	d.g.mu.Lock()
	d.g.stranger = addr.String()
	d.g.mu.Unlock()
}

// NotifyMerge refuses a first exchange with a peer that shows forged members. A voucher that is expired or
// unknown here is no reason: clocks and authorities' keys differ, and NotifyAlive leaves those members out
// one by one.
func (d *delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if n.State != memberlist.StateAlive || n.Name == d.g.name {
			continue
		}
		_, err := d.verifier.verify(n)
		if kind := jobs.KindOf(err); err != nil && (kind == jobs.Corrupt || kind == jobs.Invalid) {
			d.g.stats.refused.Add(1)
			return err
		}
	}
	return nil
}

// NotifyJoin lists a member. memberlist calls it after NotifyAlive agreed.
func (d *delegate) NotifyJoin(n *memberlist.Node) {
	s, err := seatOf(n)
	if err != nil {
		return // cannot be: NotifyAlive read the same bytes
	}
	if s.member.ID == d.g.id && s.boot > d.g.opts.Boot {
		d.warnOfTwin(s.member.Address)
	}
	if d.g.roster.put(s, time.Now()) {
		signal(d.g.superseded)
	}
	signal(d.g.changed)
}

// NotifyUpdate lists what changed of a member.
func (d *delegate) NotifyUpdate(n *memberlist.Node) { d.NotifyJoin(n) }

// NotifyLeave takes a member off the list, dead or gone.
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	if id, boot, err := parseName(n.Name); err == nil {
		d.g.roster.drop(id, boot)
		signal(d.g.changed)
	}
}

// NotifyConflict is told of claims that a live name is at another address. One about this member's own name, with
// its signature, comes from a copy of its state folder that was started as often.
func (d *delegate) NotifyConflict(existing, other *memberlist.Node) {
	if existing.Name != d.g.name {
		return
	}
	if _, err := d.verifier.verify(other); err != nil {
		d.g.stats.refused.Add(1)
		return
	}
	if addr, err := addressOf(other); err == nil {
		d.warnOfTwin(addr.String())
	}
}

// warnOfTwin says, now and then, that this machine's identity is used twice: the pool shows only one of the two.
func (d *delegate) warnOfTwin(address string) {
	now := time.Now()
	d.g.mu.Lock()
	again := now.Sub(d.g.twinned) < warnEvery
	if !again {
		d.g.twinned = now
	}
	d.g.mu.Unlock()
	if !again {
		d.g.log.Warn("another agent runs with this machine's identity: a copy of its state folder?", "address", address,
			"hint", "empty the copy's state folder and join with a token of its own")
	}
}

// compatible refuses protocol versions that this memberlist does not speak. It would list such a member and
// from then on fail every push-pull, with everyone, because of it.
func compatible(n *memberlist.Node) error {
	const ours = memberlist.ProtocolVersion2Compatible
	if n.PMin > ours || n.PMax < ours || n.PCur != ours || n.DMin != 0 || n.DMax != 0 || n.DCur != 0 {
		return jobs.Errorf(jobs.Invalid, "gossip protocol %d to %d, speaking %d: expected %d", n.PMin, n.PMax, n.PCur, ours)
	}
	return nil
}

func expired(notAfter, now time.Time) bool { return now.After(notAfter.Add(grace)) }

// verifier checks members' signatures and vouchers and remembers the good ones, because each member's meta
// comes again with every push-pull.
type verifier struct {
	voucher func(ed25519.PublicKey, peer.Role, peer.Class, time.Time, []byte) error

	mu    sync.Mutex // guards known
	known map[jobs.Digest]claim
}

func newVerifier(voucher func(ed25519.PublicKey, peer.Role, peer.Class, time.Time, []byte) error) *verifier {
	return &verifier{voucher: voucher, known: make(map[jobs.Digest]claim)}
}

// verify returns what a member says of itself if its name, key, address and voucher belong together. Of
// kind Invalid or Corrupt is what no honest member says; a voucher that does not hold is Denied.
func (v *verifier) verify(n *memberlist.Node) (claim, error) {
	addr, err := addressOf(n)
	if err != nil {
		return claim{}, err
	}
	seen := jobs.DigestOf(signedBytes(n.Meta, n.Name, addr))
	v.mu.Lock()
	c, ok := v.known[seen]
	v.mu.Unlock()
	if ok {
		return c, nil
	}
	if c, err = v.verifyAnew(n, addr); err != nil {
		return claim{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.known) >= maxKnown {
		clear(v.known) // simple, and rare: months of changes in a pool of 500
	}
	v.known[seen] = c
	return c, nil
}

func (v *verifier) verifyAnew(n *memberlist.Node, addr netip.AddrPort) (claim, error) {
	id, _, err := parseName(n.Name)
	if err != nil {
		return claim{}, err
	}
	c, err := decodeMeta(n.Meta)
	if err != nil {
		return claim{}, err
	}
	if jobs.AgentID(jobs.DigestOf(c.key)) != id {
		return claim{}, jobs.Errorf(jobs.Corrupt, "the key is not that of %s", id.Short())
	}
	body, signature, err := splitMeta(n.Meta)
	if err != nil {
		return claim{}, err
	}
	if !ed25519.Verify(c.key, signedBytes(body, n.Name, addr), signature) {
		return claim{}, jobs.Errorf(jobs.Corrupt, "%s did not sign this meta for %s", id.Short(), addr)
	}
	if err := v.voucher(c.key, c.Voucher.Role, c.Voucher.Class, c.Voucher.NotAfter, c.Voucher.Signature); err != nil {
		return claim{}, jobs.Errorf(jobs.Denied, "voucher of %s: %w", id.Short(), err)
	}
	return c, nil
}

// addressOf returns the member's address in the one form that is signed.
func addressOf(n *memberlist.Node) (netip.AddrPort, error) {
	ip, _ := netip.AddrFromSlice(n.Addr)
	addr := netip.AddrPortFrom(ip, n.Port)
	if !usable(addr) {
		return addr, jobs.Errorf(jobs.Invalid, "member address %v:%d", n.Addr, n.Port)
	}
	return addr, nil
}
