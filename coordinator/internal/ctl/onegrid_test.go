package ctl

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"idlegrid/agent"
	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/rpc"
	"idlegrid/coordinator"
	"idlegrid/coordinator/internal/web"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// smallLimits is the coordinator.yaml of the grid of the tests.
const smallLimits = `max_units: 1000
max_memory_mib: 512
max_timeout_minutes: 60
max_keep_days: 20
max_job_mib: 1
max_jobs_per_submitter: 3
`

// OneGrid is a coordinator and two agents in this process, on loopback.
type OneGrid struct {
	t           testing.TB
	dir         string
	page        web.Settings
	coordinator *coordinator.Coordinator
	stop        func() // ends the coordinator; nil while it is off
	log         *slog.Logger
}

// NewGrid starts a grid that ends with the test, which shows its log if it failed.
func NewGrid(t testing.TB) *OneGrid {
	t.Helper()
	g := newGrid(t, web.Settings{Address: "127.0.0.1:0"})
	pool := executor.NewPool(executor.Options{Slots: 2, Cache: filepath.Join(g.dir, "cache"), Log: g.log})
	t.Cleanup(pool.Close)
	const agents = 2
	for n := range agents {
		a := g.addAgent("agent"+strconv.Itoa(n), pool)
		if n == agents-1 {
			g.await(a, agents)
		}
	}
	return g
}

// NewEmptyGrid starts a grid in which there is no agent, and no page.
func NewEmptyGrid(t testing.TB) *OneGrid {
	t.Helper()
	return newGrid(t, web.Settings{})
}

func newGrid(t testing.TB, page web.Settings) *OneGrid {
	t.Helper()
	g := &OneGrid{t: t, dir: t.TempDir(), page: page}
	g.openLog()
	state := g.folder("coordinator")
	if err := errors.Join(coordinator.Init(state), state.WriteFile("coordinator.yaml", []byte(smallLimits), 0o600)); err != nil {
		t.Fatal(err)
	}
	g.startCoordinator(g.listen("127.0.0.1:0"))
	return g
}

// await waits until the coordinator knows that all agents may keep records.
func (g *OneGrid) await(a *agent.Agent, agents int) {
	g.t.Helper()
	dialer := rpc.NewDialer(rpc.DialOptions{Identity: a.Identity, Root: a.Identity().Root})
	defer dialer.Close()
	conn, err := dialer.Conn(g.coordinator.Address(), jobs.KeyID{})
	if err != nil {
		g.t.Fatal(err)
	}
	eligible := func() (n int) {
		reply, err := gridv1.NewMembersClient(conn).List(g.t.Context(), &gridv1.ListRequest{})
		if err != nil {
			g.t.Fatal(err)
		}
		members, err := node.MembersFromProto(reply)
		if err != nil {
			g.t.Fatal(err)
		}
		for _, m := range members {
			if m.Eligible() {
				n++
			}
		}
		return n
	}
	for tick := time.NewTicker(20 * time.Millisecond); eligible() < agents; <-tick.C {
		if g.t.Context().Err() != nil {
			return
		}
	}
}

func (g *OneGrid) openLog() {
	g.t.Helper()
	file, err := os.Create(filepath.Join(g.dir, "log"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.log = slog.New(slog.NewTextHandler(file, nil))
	g.t.Cleanup(func() {
		if g.t.Failed() {
			text, err := os.ReadFile(file.Name())
			g.t.Logf("the grid's log: %v\n%s", err, text)
		}
		_ = file.Close() // It is of no use any more.
	})
}

func (g *OneGrid) folder(name string) *os.Root {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.Mkdir(path, 0o700); err != nil {
		g.t.Fatal(err)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = dir.Close() }) // Nothing is written through it at the end.
	return dir
}

// StopCoordinator ends the coordinator, and returns when it has.
func (g *OneGrid) StopCoordinator() error {
	if g.stop == nil {
		return errors.New("the coordinator is off")
	}
	g.stop()
	g.stop = nil
	return nil
}

// StartCoordinator starts it again on its folder, where it was before.
func (g *OneGrid) StartCoordinator() error {
	if g.stop != nil {
		return errors.New("the coordinator is on")
	}
	g.startCoordinator(g.listen(g.coordinator.Address()))
	return nil
}

func (g *OneGrid) startCoordinator(network node.Network) {
	g.t.Helper()
	c, err := coordinator.New(coordinator.Options{State: filepath.Join(g.dir, "coordinator"), Network: network, Page: g.page, Log: g.log})
	if err != nil {
		g.t.Fatal(err)
	}
	g.coordinator = c
	g.stop = g.run(c)
}

func (g *OneGrid) listen(address string) node.Network {
	g.t.Helper()
	n, err := node.Listen(address)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// run runs a daemon until stop is called or the test ends.
func (g *OneGrid) run(d interface {
	io.Closer
	Run(ctx context.Context) error
},
) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		if err := d.Run(ctx); err != nil {
			g.t.Errorf("daemon: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		work.Wait()
		if err := d.Close(); err != nil {
			g.t.Errorf("close a daemon: %v", err)
		}
	})
	g.t.Cleanup(stop)
	return stop
}

func (g *OneGrid) addAgent(name string, pool *executor.Pool) *agent.Agent {
	g.t.Helper()
	state := g.folder(name)
	token := g.Token(identity.Grant{Role: peer.Agent, Class: peer.AlwaysOn}, time.Hour)
	if _, _, err := node.Enrol(g.t.Context(), state, token, peer.Agent); err != nil {
		g.t.Fatal(err)
	}
	a, err := agent.New(agent.Options{
		State: state.Name(), Network: g.listen("127.0.0.1:0"), Cores: 1, Runner: pool, Runtime: executor.Runtime(), Log: g.log,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.run(a)
	return a
}

// Forget takes all blobs away from all agents, as time does from jobs that have ended.
func (g *OneGrid) Forget() error {
	blobs, err := filepath.Glob(filepath.Join(g.dir, "agent*", "blobs", "*"))
	if err == nil && len(blobs) == 0 {
		err = errors.New("the agents have no blobs")
	}
	for _, name := range blobs {
		if info, statErr := os.Stat(name); statErr == nil && info.Mode().IsRegular() {
			err = errors.Join(err, os.Remove(name))
		}
	}
	return err
}

// Token mints a token of the grid.
func (g *OneGrid) Token(grant identity.Grant, life time.Duration) string {
	g.t.Helper()
	dir, err := os.OpenRoot(filepath.Join(g.dir, "coordinator"))
	if err != nil {
		g.t.Fatal(err)
	}
	defer dir.Close() // Nothing was written.
	token, err := coordinator.Token(dir, identity.TokenSpec{Grant: grant, TTL: life, Addresses: []string{g.coordinator.Address()}})
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}
