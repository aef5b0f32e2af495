package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/simnet"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

const (
	gridPort = 7745
	slots    = 2 // of each agent
)

// grid is a coordinator's node, agents and a submitter, all in one process, one network in memory and one
// synctest bubble. Only their folders are real.
type grid struct {
	t         *testing.T
	net       *simnet.Network
	authority *identitytest.Grid
	secret    []byte
	submitter *identity.Identity
	seed      *machine // the coordinator: it dials agents back and countersigns
	agents    []*machine
	log       *slog.Logger
	runs      runs
	jobs      int // made so far
}

// machine is a state folder and what runs on it.
type machine struct {
	grid  *grid
	ip    string
	state string
	id    *identity.Identity

	agent *Agent     // nil: it is off, or the coordinator
	node  *node.Node // nil: it is off
	end   func() error
}

// inGrid runs f in a bubble with a grid of so many agents, all of them running and eligible.
func inGrid(t *testing.T, agents int, f func(*grid)) {
	t.Helper()
	t.Parallel() // much of the real time is spent waiting for the disk
	synctest.Test(t, func(t *testing.T) {
		g := newGrid(t)
		for range agents {
			g.start(g.machine(peer.Agent))
		}
		g.awaitEligible(agents)
		f(g)
	})
}

func newGrid(t *testing.T) *grid {
	g := &grid{
		t: t, net: simnet.New(time.Millisecond, 1), authority: identitytest.NewGrid(t), secret: make([]byte, 32),
		log: slog.New(slog.DiscardHandler), runs: runs{unit: 100 * time.Millisecond},
	}
	if os.Getenv("GRID_LOG") != "" {
		g.log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	g.submitter = g.authority.Role(peer.Submitter, "alice")
	// memberlist's own goroutines end some time after Close; virtual time stands still after the test.
	t.Cleanup(func() {
		for _, m := range append(g.agents, g.seed) {
			g.stop(m)
		}
		time.Sleep(2 * time.Minute)
	})
	g.seed = g.machine(peer.Coordinator)
	g.start(g.seed)
	return g
}

// machine makes a machine that is off and has joined the grid.
func (g *grid) machine(role peer.Role) *machine {
	g.t.Helper()
	grant := identity.Grant{Role: role}
	if role == peer.Agent {
		grant.Class = peer.AlwaysOn
	}
	m := &machine{grid: g, ip: fmt.Sprintf("10.0.0.%d", len(g.agents)+1), state: g.t.TempDir(), id: g.authority.Identity(grant)}
	if role == peer.Agent {
		g.agents = append(g.agents, m)
	} else {
		m.ip = "10.0.1.1"
	}
	c := m.id.Caller()
	voucher, err := g.authority.Voucher(identity.Voucher{Key: c.Key, Role: c.Role, Class: c.Class, NotAfter: c.NotAfter.Truncate(time.Second)})
	g.must(err)
	dir, err := os.OpenRoot(m.state)
	g.must(err)
	known := node.Grid{GossipKeys: [][]byte{g.secret}, Voucher: voucher, Coordinators: []string{fmt.Sprintf("10.0.1.1:%d", gridPort)}}
	g.must(errors.Join(node.SaveGrid(dir, known), m.id.Save(dir), dir.Close()))
	return m
}

// start switches a machine on.
func (g *grid) start(m *machine) {
	g.t.Helper()
	host := g.net.Host(m.ip)
	packets, err := host.ListenPacket(gridPort)
	g.must(err)
	l, err := host.Listen(gridPort)
	g.must(err)
	network := node.Network{Listener: l, Packets: packets, Dial: func(ctx context.Context, address string) (net.Conn, error) {
		return host.Dial(ctx, address)
	}}
	log := g.log.With("machine", m.ip)
	if m == g.seed {
		m.node, err = node.New(node.Options{State: m.state, Network: network, Log: log}, node.Hooks{})
		g.must(err)
		m.run(m.node.Serve, m.node.Close)
		return
	}
	m.agent, err = New(Options{
		State: m.state, Network: network, Cores: slots, Runner: &runner{&g.runs, m.ip}, Runtime: "test 1", Log: log,
	})
	g.must(err)
	m.node = m.agent.node
	m.run(m.agent.Run, m.agent.Close)
}

// run runs a daemon until m.end.
func (m *machine) run(run func(context.Context) error, closing func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	m.end = func() error {
		cancel()
		return errors.Join(<-ended, closing())
	}
}

// stop ends a machine's daemon as a service manager does. One that is off stays off.
func (g *grid) stop(m *machine) {
	g.t.Helper()
	if m.node == nil {
		return
	}
	begun := time.Now()
	if err := m.end(); err != nil {
		g.t.Errorf("stop %s: %v", m.ip, err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		g.t.Errorf("stopping %s took %s", m.ip, took)
	}
	g.off(m)
}

// cut takes a machine's power: nobody hears from it any more.
func (g *grid) cut(m *machine) {
	g.t.Helper()
	g.net.Stop(m.ip)
	_ = m.end() // its network is gone, and says so
	g.off(m)
}

func (g *grid) off(m *machine) {
	g.net.Stop(m.ip) // its connections that nobody has closed
	m.agent, m.node, m.end = nil, nil, nil
}

// on returns the agents that are on.
func (g *grid) on() []*machine {
	var on []*machine
	for _, m := range g.agents {
		if m.node != nil {
			on = append(on, m)
		}
	}
	return on
}

func (g *grid) must(err error) {
	g.t.Helper()
	if err != nil {
		g.t.Fatal(err)
	}
}

// eventually waits, in virtual time, for ok to hold.
func (g *grid) eventually(within time.Duration, what string, ok func() bool) time.Duration {
	g.t.Helper()
	begun := time.Now()
	for !ok() {
		if time.Since(begun) > within {
			g.t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(50 * time.Millisecond)
	}
	return time.Since(begun)
}

// awaitEligible waits until all who are on see so many agents that may keep records.
func (g *grid) awaitEligible(agents int) {
	g.t.Helper()
	g.eventually(3*time.Minute, fmt.Sprintf("%d eligible agents", agents), func() bool {
		for _, m := range append(g.on(), g.seed) {
			if m.node == nil {
				continue
			}
			if len(peer.Rank(nil, m.node.Members(), agents+1)) != agents {
				return false
			}
		}
		return true
	})
}

// theJob is a job that is in the grid.
type theJob struct {
	g  *grid
	id jobs.JobID
	m  *manifest.Manifest
}

// submit puts a job and its program where the coordinator would.
func (g *grid) submit(units uint64, change ...func(*manifest.Manifest)) *theJob {
	g.t.Helper()
	g.jobs++
	program := fmt.Appendf(nil, "program %d", g.jobs)
	now := time.Now().Truncate(time.Second)
	m := &manifest.Manifest{
		Name: fmt.Sprint("job-", g.jobs), Submitter: g.submitter.ID(), Runtime: manifest.RuntimeWasm,
		Program: jobs.Blob{Digest: jobs.DigestOf(program), Size: int64(len(program))}, Args: []string{"${unit}"},
		Units: units, Bundle: 1, Quorum: 1, Memory: 64 << 20, Timeout: time.Hour, Retries: 1, SuccessCodes: []uint32{0},
		Created: now, Expires: now.Add(24 * time.Hour), MinVersion: 1,
	}
	submitter := g.submitter
	for _, c := range change {
		c(m)
	}
	payload, err := m.Encode()
	g.must(err)
	offer := records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeManifest, payload, submitter.Key)},
		Chains: [][][]byte{submitter.Chain, g.seed.id.Chain},
	}
	offer.Envelope.Countersign(g.seed.id.Key)
	j := &theJob{g: g, id: jobs.JobID(offer.Envelope.ID()), m: m}
	for _, a := range g.on() {
		g.must(a.node.Blobs.Put(j.id, m.Program, bytes.NewReader(program)))
	}
	for _, a := range g.on() {
		a.add(offer)
	}
	return j
}

// add puts a record into a machine's store, as the coordinator does.
func (m *machine) add(o records.Offer) {
	m.grid.t.Helper()
	_, refused, err := m.node.Store.Add(context.Background(), []records.Offer{o}, true)
	if err != nil || len(refused) > 0 {
		m.grid.t.Fatalf("%s refuses a record: %v %v", m.ip, refused, err)
	}
}

// cancel ends a job everywhere.
func (j *theJob) cancel() {
	j.g.t.Helper()
	c := record.Cancel{Job: j.id}
	o := records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeCancel, c.Encode(), j.g.submitter.Key)},
		Chains: [][][]byte{j.g.submitter.Chain},
	}
	for _, a := range j.g.on() {
		a.add(o)
	}
}

// counts returns what a machine's records say of the whole job.
func (j *theJob) counts(m *machine) ledger.Counts {
	j.g.t.Helper()
	var sum ledger.Counts
	for n := range j.m.Shards() {
		err := m.node.Store.WithLedger(jobs.ShardID{Job: j.id, Shard: n}, func(l *ledger.Ledger) {
			c := l.Counts(time.Now())
			sum.Open, sum.Accepted, sum.Failed, sum.Conflict = sum.Open+c.Open, sum.Accepted+c.Accepted, sum.Failed+c.Failed, sum.Conflict+c.Conflict
			sum.Differs, sum.Dead = sum.Differs+c.Differs, sum.Dead+c.Dead
		})
		j.g.must(err)
	}
	return sum
}

// done reports whether all who are on and steward the job have no open unit.
func (j *theJob) done() bool {
	j.g.t.Helper()
	for _, m := range j.g.on() {
		if j.counts(m).Open > 0 {
			return false
		}
	}
	return true
}

func (j *theJob) await(within time.Duration) time.Duration {
	j.g.t.Helper()
	return j.g.eventually(within, "the job is done", j.done)
}

// each fails the test unless each of the job's units ran to its end, at most so many times in all.
func (j *theJob) each(most int) {
	j.g.t.Helper()
	for unit := range j.m.Units {
		if n := j.g.runs.of(j.m.Program.Digest, unit); n < 1 || n > most {
			j.g.t.Errorf("unit %d ran %d times, expected 1 to %d", unit, n, most)
		}
	}
}

// runs is what ran where, in the whole grid, and how.
type runs struct {
	unit    time.Duration                 // how long a unit runs
	prepare func(*executor.Program) error // nil: programs are good
	fails   func(unit uint64) bool        // nil: none
	output  int                           // bytes that a unit writes besides

	mu      sync.Mutex // guards everything below
	ended   map[run][]string
	started int
	now     int // running
}

type run struct {
	program jobs.Digest
	unit    uint64
}

// of returns how often a unit ran to its end.
func (r *runs) of(program jobs.Digest, unit uint64) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ended[run{program, unit}])
}

// by returns how many units a machine ran.
func (r *runs) by(ip string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, where := range r.ended {
		for _, w := range where {
			if w == ip {
				n++
			}
		}
	}
	return n
}

func (r *runs) running() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// total returns how many units were started.
func (r *runs) total() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started
}

// runner stands for the executor of one machine: units take time and nothing else.
type runner struct {
	runs *runs
	ip   string
}

func (r *runner) Prepare(_ context.Context, p *executor.Program) error {
	if r.runs.prepare == nil {
		return nil
	}
	return r.runs.prepare(p)
}

func (r *runner) Run(ctx context.Context, p *executor.Program, u *executor.Unit) (executor.Result, error) {
	unit, err := strconv.ParseUint(u.Args[0], 10, 64)
	if err != nil {
		return executor.Result{}, err
	}
	r.runs.mu.Lock()
	r.runs.started++
	r.runs.now++
	r.runs.mu.Unlock()
	timer := time.NewTimer(r.runs.unit)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	r.runs.mu.Lock()
	defer r.runs.mu.Unlock()
	r.runs.now--
	if err != nil {
		return executor.Result{}, err
	}
	if r.runs.ended == nil {
		r.runs.ended = map[run][]string{}
	}
	key := run{p.Digest, unit}
	r.runs.ended[key] = append(r.runs.ended[key], r.ip)
	if r.runs.fails != nil && r.runs.fails(unit) {
		return executor.Result{Failure: jobs.Failure{Kind: jobs.FailureTrap, Text: "unreachable"}}, nil
	}
	return executor.Result{
		Outcome: record.Outcome{Stdout: fmt.Appendf(nil, "unit %d\n", unit), Stderr: make([]byte, r.runs.output)},
		Times:   jobs.Times{CPU: r.runs.unit, Wall: r.runs.unit},
	}, nil
}
