package gridtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"idlegrid/agent"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/coordinator"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/admission"
	"idlegrid/jobs"
)

const recordsFile = "records.db" // in a state folder

// Machine is a state folder, an address, and the agent or coordinator that runs with them while it is on.
type Machine struct {
	IP    string
	State string
	Join  []string // addresses that it is told to join by
	// Of an agent, from its next start on: what it tells of, who its owner is (nil: nobody sees one), and what is told of
	// each message that it sends with a call (nil: nothing).
	Hooks agent.Hooks
	Owner *Owner
	Sends func(method string, m proto.Message)

	grid  *Grid
	grant identity.Grant // that it enrolled with last
	heard heard
	disk  disk
	skew  atomic.Int64 // of its clock, in nanoseconds
	// overhead is the CPU time that the agent itself has taken, in nanoseconds.
	overhead atomic.Int64
	cutting  atomic.Bool          // its power is being cut
	lastEnd  time.Time            // when a unit ended here last; guarded by the grid's runs
	unsaid   map[jobs.Digest]bool // programs of which a run ended without a result since one of the same had one; likewise
	agent    *agent.Agent         // nil: it is off, or the coordinator
	book     *accounts.Book       // nil: it is off, or an agent
	node     *node.Node           // nil: it is off
	end      func() error
}

// daemon is what an agent and a coordinator have in common.
type daemon interface {
	Node() *node.Node
	Run(ctx context.Context) error
	Close() error
}

func (g *Grid) machine(ip, state string) *Machine {
	return &Machine{grid: g, IP: ip, State: state, heard: heard{next: g.log.Handler(), log: &log{}}, unsaid: map[jobs.Digest]bool{}}
}

// On reports whether the machine is on.
func (m *Machine) On() bool { return m.node != nil }

// Node returns what every peer has; nil while the machine is off.
func (m *Machine) Node() *node.Node { return m.node }

// Agent returns the running agent; nil while the machine is off, and of a coordinator.
func (m *Machine) Agent() *agent.Agent { return m.agent }

// Eligible returns how many agents the machine sees that may keep records.
func (m *Machine) Eligible() int {
	n := 0
	for _, o := range m.node.Members() {
		if o.Eligible() {
			n++
		}
	}
	return n
}

// Enrol makes a key in the state folder and has the grid's authority certify it, as redeeming a token does.
func (m *Machine) Enrol(grant identity.Grant) {
	g := m.grid
	g.T.Helper()
	dir := g.open(m)
	m.grant = grant
	id, voucher := g.issue(grant)
	known := node.Grid{GossipKeys: g.gossipKeys(), Voucher: voucher, Coordinators: []string{address(g.Coordinator.IP)}}
	g.must(errors.Join(node.SaveGrid(dir, known), id.Save(dir), dir.Close()))
}

// issue makes an identity with the authority in the coordinator's state folder.
func (g *Grid) issue(grant identity.Grant) (*identity.Identity, []byte) {
	g.T.Helper()
	dir := g.open(g.Coordinator)
	authority, err := identity.Open(dir)
	g.must(errors.Join(err, dir.Close()))
	key, err := identity.NewKey()
	g.must(err)
	csr, err := identity.Request(key)
	g.must(err)
	chain, voucher, err := admission.Issue(authority, csr, grant)
	g.must(err)
	id, err := identity.New(key, chain, authority.Root())
	g.must(err)
	return id, voucher
}

func (g *Grid) gossipKeys() [][]byte {
	g.T.Helper()
	dir := g.open(g.Coordinator)
	known, err := node.LoadGrid(dir)
	g.must(errors.Join(err, dir.Close()))
	return known.GossipKeys
}

// Start switches the machine on.
func (m *Machine) Start() {
	g := m.grid
	g.T.Helper()
	if m.On() {
		g.T.Fatalf("%s is on", m.IP)
	}
	network := g.network(m.IP)
	if m.Sends != nil {
		network.Calls = tap{&g.meter, m.Sends}
	}
	log := slog.New(&m.heard).With("machine", m.IP)
	d, err := m.open(network, log)
	g.must(err)
	m.node = d.Node()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	m.end = func() error {
		cancel()
		return errors.Join(<-ended, d.Close())
	}
}

func (m *Machine) open(network node.Network, log *slog.Logger) (daemon, error) {
	if m == m.grid.Coordinator {
		c, err := coordinator.New(coordinator.Options{State: m.State, Network: network, Join: m.Join, Log: log})
		if err == nil {
			m.book = c.Accounts()
		}
		return c, err
	}
	var err error
	var owner agent.Owner
	if m.Owner != nil {
		owner.Signals = m.Owner
	}
	m.agent, err = agent.New(agent.Options{
		State: m.State, Network: network, Cores: Slots, Lease: m.grid.Lease, Runner: &runner{m: m, allowed: Slots}, Runtime: "gridtest 1",
		Owner: owner, OwnerAway: m.grid.OwnersAway, Hooks: m.Hooks, Overhead: m.Used, BeforeWrite: m.beforeWrite, Wall: m.wall, Log: log,
	})
	return m.agent, err
}

// Skew sets an agent's clock so far ahead, as far as it decides what has expired: a bubble has one clock, so that
// timers, leases and certificates go by the right time.
func (m *Machine) Skew(by time.Duration) { m.skew.Store(int64(by)) }

// Used returns the CPU time that the agent itself has taken.
func (m *Machine) Used() time.Duration { return time.Duration(m.overhead.Load()) }

// Quiet reports whether all that has ended on the machine is in its reports: for a while nothing has, and what ended last
// of each job had a result.
func (m *Machine) Quiet() bool {
	m.grid.runs.mu.Lock()
	defer m.grid.runs.mu.Unlock()
	return len(m.unsaid) == 0 && time.Since(m.lastEnd) > 10*time.Second
}

func (m *Machine) wall() time.Time { return time.Now().Add(time.Duration(m.skew.Load())) }

// Offer tells the agent what it may use, as the owner's side does.
func (m *Machine) Offer(o agent.Offer) {
	m.grid.T.Helper()
	m.grid.must(m.agent.Offer(o))
}

// Class returns the class that the machine enrolled with.
func (m *Machine) Class() peer.Class { return m.grant.Class }

// Stop ends the machine's daemon as a service manager does, which must not take long. One that is off stays off.
func (m *Machine) Stop() {
	t := m.grid.T
	t.Helper()
	if !m.On() {
		return
	}
	begun := time.Now()
	if err := m.end(); err != nil {
		t.Errorf("stop %s: %v", m.IP, err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stopping %s took %s", m.IP, took)
	}
	m.off()
}

// Cut takes the machine's power: nobody hears from it any more, and its disk stays as it is now.
func (m *Machine) Cut() {
	m.grid.T.Helper()
	m.grid.Net.Stop(m.IP)
	m.cutting.Store(true)
	state := m.image()
	_ = m.end() // its network is gone, and says so
	m.cutting.Store(false)
	m.State = state
	m.off()
}

func (m *Machine) off() {
	m.grid.Net.Stop(m.IP) // its connections that nobody has closed
	m.agent, m.book, m.node, m.end = nil, nil, nil, nil
}

// Wipe empties the state folder of a machine that is off, save for the files whose names match one of the
// patterns. An agent that lost its key must enrol again.
func (m *Machine) Wipe(keep ...string) {
	g := m.grid
	g.T.Helper()
	m.mustBeOff()
	files, err := os.ReadDir(m.State)
	g.must(err)
	for _, f := range files {
		kept := false
		for _, pattern := range keep {
			match, err := filepath.Match(pattern, f.Name())
			g.must(err)
			kept = kept || match
		}
		if !kept {
			g.must(os.RemoveAll(filepath.Join(m.State, f.Name())))
		}
	}
}

// Lose empties the state folder of a machine that is off, and has it enrol again: it is another agent then.
func (m *Machine) Lose() {
	m.grid.T.Helper()
	m.Wipe()
	m.Enrol(m.grant)
}

// Move gives a machine that is off a new address.
func (m *Machine) Move() {
	m.grid.T.Helper()
	m.mustBeOff()
	m.IP = m.grid.freeIP()
}

// Clone makes a machine, off and at an address of its own, whose state folder is a copy of this one's as it is
// now: two with one ID.
func (m *Machine) Clone() *Machine {
	g := m.grid
	g.T.Helper()
	c := g.machine(g.freeIP(), m.image())
	g.Agents = append(g.Agents, c)
	return c
}

func (m *Machine) mustBeOff() {
	m.grid.T.Helper()
	if m.On() {
		m.grid.T.Fatalf("%s is on", m.IP)
	}
}

// image copies the state folder as a power cut leaves it, and returns the copy.
func (m *Machine) image() string {
	g := m.grid
	g.T.Helper()
	to := g.T.TempDir()
	g.must(filepath.WalkDir(m.State, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // a temporary file
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(m.State, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		}
		if name == recordsFile && m.On() { // a plain copy might be half of two states
			return m.node.Store.DB().View(func(tx *bbolt.Tx) error { return tx.CopyFile(filepath.Join(to, name), 0o600) })
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o600)
	}))
	return to
}

// Stewards returns the running stewards of a job's first shard as this machine sees them, the first choice
// first.
func (m *Machine) Stewards(j *Job) []*Machine {
	var out []*Machine
	for _, s := range peer.Stewards(j.shard(0), m.node.Members()) {
		if o := m.grid.Machine(s); o != nil {
			out = append(out, o)
		}
	}
	return out
}

// freeIP returns an address that no machine has had.
func (g *Grid) freeIP() string {
	g.moved++
	return fmt.Sprintf("10.0.3.%d", g.moved)
}
