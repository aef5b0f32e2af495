package gridtest

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/simnet"
	"idlegrid/agent/peer/steward"
	"idlegrid/coordinator"
)

const (
	port = node.DefaultPort
	// Slots is how many units an agent runs at once.
	Slots = 2
	// latency of the network, one way.
	latency = time.Millisecond
	// lastWords is how long memberlist's own goroutines live on after a Close.
	lastWords = 2 * time.Minute
	look      = 50 * time.Millisecond // how often Eventually looks
)

// Grid is a coordinator, agents and submitters. Its methods fail the test where they cannot do what they say.
type Grid struct {
	T           testing.TB
	Net         *simnet.Network
	Coordinator *Machine
	Agents      []*Machine    // in the order in which they were added, off or on
	User        *User         // who submits unless another does
	Lease       steward.Lease // of agents that start from now on
	Rand        *rand.Rand    // of the seed that the test prints
	OwnersAway  bool          // agents of every class that start from now on work

	log   *slog.Logger
	users int
	jobs  int
	moved int
	runs  runs
	meter meter
}

// smallGrid is how many agents a simulation has at most that runs under -short too, as with the race detector.
const smallGrid = 4

// Run runs f in a bubble with a grid of so many always-on agents, all of them on and eligible.
func Run(t *testing.T, agents int, f func(*Grid)) {
	t.Helper()
	if testing.Short() && agents > smallGrid {
		t.Skipf("a grid of %d agents takes too long for -short", agents)
	}
	t.Parallel() // much of the real time is spent waiting for the disk
	synctest.Test(t, func(t *testing.T) {
		g := New(t)
		for range agents {
			g.Add(peer.AlwaysOn).Start()
		}
		g.AwaitPool(agents)
		f(g)
	})
}

// New makes a grid with a coordinator that is on and no agents. It must be called in a bubble; what is on at the
// end of the test is stopped.
func New(t testing.TB) *Grid {
	t.Helper()
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("GRID_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("GRID_SEED=%d", seed)
	return NewSeeded(t, seed)
}

// NewSeeded is New with a seed of the test's own.
func NewSeeded(t testing.TB, seed uint64) *Grid {
	t.Helper()
	g := &Grid{
		T: t, Net: simnet.New(latency, seed), Rand: rand.New(rand.NewPCG(seed, seed)),
		log: slog.New(slog.DiscardHandler), runs: runs{work: Takes(100 * time.Millisecond)},
	}
	if os.Getenv("GRID_LOG") != "" {
		g.log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	g.Coordinator = g.machine("10.0.1.1", t.TempDir())
	dir := g.open(g.Coordinator)
	g.must(coordinator.Init(dir))
	g.must(dir.Close())
	t.Cleanup(g.end)
	g.Coordinator.Start()
	g.User = g.NewUser(peer.Submitter, "alice")
	return g
}

func (g *Grid) end() {
	for _, m := range append(g.Agents, g.Coordinator) {
		m.Stop()
	}
	time.Sleep(lastWords) // virtual time stands still after the test
}

// Add makes a machine of an agent that has enrolled and is off.
func (g *Grid) Add(class peer.Class) *Machine {
	g.T.Helper()
	m := g.machine(fmt.Sprintf("10.0.0.%d", len(g.Agents)+1), g.T.TempDir())
	g.Agents = append(g.Agents, m)
	m.Enrol(identity.Grant{Role: peer.Agent, Class: class})
	return m
}

// Identity makes somebody who has enrolled and has no machine.
func (g *Grid) Identity(grant identity.Grant) *identity.Identity {
	g.T.Helper()
	id, _ := g.issue(grant)
	return id
}

// On returns the agents that are on.
func (g *Grid) On() []*Machine {
	var on []*Machine
	for _, m := range g.Agents {
		if m.On() {
			on = append(on, m)
		}
	}
	return on
}

// Machine returns the running agent that a member is, or nil.
func (g *Grid) Machine(member peer.Member) *Machine {
	for _, m := range g.On() {
		if m.node.ID() == member.ID && m.node.Address() == member.Address {
			return m
		}
	}
	return nil
}

// AwaitPool waits until all machines that are on see so many agents that may keep records.
func (g *Grid) AwaitPool(agents int) {
	g.T.Helper()
	const within = 3 * time.Minute
	for begun := time.Now(); ; time.Sleep(look) {
		seen, all := "", true
		for _, m := range append(g.On(), g.Coordinator) {
			if m.On() && m.Eligible() != agents {
				seen, all = fmt.Sprintf("%s, %s sees %d", seen, m.IP, m.Eligible()), false
			}
		}
		if all {
			return
		}
		if time.Since(begun) > within {
			g.T.Fatalf("not within %s: %d eligible agents%s", within, agents, seen)
		}
	}
}

// Partition cuts every way between two groups of machines.
func (g *Grid) Partition(as, bs []*Machine) { g.Net.Partition(ips(as), ips(bs)) }

// CutWays cuts the ways from some machines to others, and leaves those back.
func (g *Grid) CutWays(froms, tos []*Machine) { g.Net.CutWays(ips(froms), ips(tos)) }

// Heal mends every cut.
func (g *Grid) Heal() { g.Net.Heal() }

func ips(machines []*Machine) []string {
	out := make([]string, len(machines))
	for i, m := range machines {
		out[i] = m.IP
	}
	return out
}

// Eventually waits, in virtual time, for ok to hold, and returns how long that took.
func (g *Grid) Eventually(within time.Duration, what string, ok func() bool) time.Duration {
	g.T.Helper()
	begun := time.Now()
	for !ok() {
		if time.Since(begun) > within {
			g.T.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(look)
	}
	return time.Since(begun)
}

// network makes the network of a machine at an address.
func (g *Grid) network(ip string) node.Network {
	g.T.Helper()
	host := g.Net.Host(ip)
	conn, err := host.ListenPacket(port)
	g.must(err)
	l, err := host.Listen(port)
	g.must(err)
	return node.Network{Listener: l, Packets: packets{conn, &g.meter}, Dial: g.meter.dial(dialFrom(host)), Calls: &g.meter}
}

func dialFrom(host *simnet.Host) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) { return host.Dial(ctx, address) }
}

func address(ip string) string { return net.JoinHostPort(ip, strconv.Itoa(port)) }

func (g *Grid) must(err error) {
	g.T.Helper()
	if err != nil {
		g.T.Fatal(err)
	}
}

func (g *Grid) open(m *Machine) *os.Root {
	g.T.Helper()
	dir, err := os.OpenRoot(m.State)
	g.must(err)
	return dir
}
