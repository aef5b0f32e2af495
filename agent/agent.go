// Package agent is the service on a PC or server: a peer that also stewards shards and, where it may, runs
// units.
//
//	node (gossip, records, blobs, RPC) ◀── steward (leases) ◀── worker ──▶ Runner (executor processes)
//	                                              signals ─▶ harvest ──▲
//
// New opens the state folder, Run works until its context ends, Close releases everything. How much runs the owner's
// side decides (harvest). An agent of a class with an owner whom nothing can see joins, keeps ledgers and blobs, and says
// why it does not work.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/worker"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/agent/program/exporter"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// ScratchFolder is the folder in the state folder that has checkpoints on their way.
const ScratchFolder = "checkpoints"

// lostDial bounds the dial that decides whether a lessee that left gossip still lives.
const lostDial = 3 * time.Second

// Options say how an agent is made.
type Options struct {
	State     string // the state folder; it has joined a grid
	Network   node.Network
	Advertise string   // IP:port; empty: where it listens
	Join      []string // host:port of peers to join by, beside those it knows
	Cores     int      // units at once, at least 1
	Quota     int64    // bytes of blobs that are kept at most, if the owner does not say less; 0: no limit
	// RepairRate is how many bytes a second this agent moves at most to repair copies; 0: node.RepairRate.
	RepairRate int64
	Lease      steward.Lease // zero: the defaults; the same on all agents of a pool
	Runner     worker.Runner
	Runtime    string       // what the Runner is, named in reports
	Metrics    net.Listener // plain HTTP for Prometheus; nil: none
	Log        *slog.Logger
	Owner      Owner
	// OwnerAway lets an agent of any class work as if its owner never came, and nobody could pause it: for tests.
	OwnerAway bool
	Hooks     Hooks
	// Overhead is the CPU time that this agent has used so far for all that is no unit's, the compiling of programs
	// included. It is called once a second at most, and not while nothing is to be done; nil: nobody says.
	Overhead func() time.Duration
	// BeforeWrite fills the disk and Wall sets the clock in tests: see node.Options.
	BeforeWrite func() error
	Wall        func() time.Time
}

// Agent is one agent.
type Agent struct {
	o       Options
	log     *slog.Logger
	node    *node.Node
	steward *steward.Steward
	worker  *worker.Worker // nil: this agent runs no units
	refusal string         // why it runs none; empty: it does

	owned   bool             // there may be an owner
	harvest *harvest.Harvest // nil: nothing decides how much may run
	folder  *os.Root         // the state folder, for that

	registry *prometheus.Registry // nil: no metrics

	leaving  chan struct{} // holds a token while the agent hands over what others need
	departed chan struct{} // closed when it has, and ends
	depart   sync.Once

	departures chan struct{}       // members changed
	ends       chan records.Change // jobs were cancelled or sealed
}

// New opens an agent. It takes over o.Network and o.Metrics.
func New(o Options) (*Agent, error) {
	a := &Agent{
		o: o, log: o.Log, leaving: make(chan struct{}, 1), departed: make(chan struct{}),
		departures: make(chan struct{}, 1), ends: make(chan records.Change, maxEnds),
	}
	cores, err := a.offered()
	if err = errors.Join(err, o.Lease.Validate()); err != nil {
		return nil, errors.Join(err, o.Network.Listener.Close(), o.Network.Packets.Close(), exporter.Close(o.Metrics))
	}
	a.node, err = node.New(node.Options{
		State: o.State, Network: o.Network, Advertise: o.Advertise, Join: o.Join, Cores: a.atFirst(cores), CoresEvery: a.offersEvery(), Quota: o.Quota,
		RepairRate: o.RepairRate, Busy: a.busy, BeforeWrite: o.BeforeWrite, Wall: o.Wall, OfferWithin: o.Lease.OrDefault().Period / 3,
		Metrics: a.MetricsAddress(), Log: o.Log,
	}, node.Hooks{
		OnWake: a.onWake, OnChange: a.onChange, OnMembers: a.onMembers,
		OnDisk:   func(error) { a.onWake(jobs.JobID{}) },
		OnForget: a.onForget,
		OnCall:   a.onCall,
	})
	if err != nil {
		return nil, errors.Join(err, exporter.Close(o.Metrics))
	}
	a.steward = steward.New(steward.Options{
		Store: a.node.Store, Self: a.node.ID(), Members: a.node.Members, Wake: a.node.Wake,
		Lease: o.Lease, Learn: a.learn, Blobs: a.node.CountedBlobs, Log: o.Log,
	})
	gridv1.RegisterStewardServer(a.node.Server, a.steward)
	gridv1.RegisterControlServer(a.node.Server, &control{agent: a})
	gridv1.RegisterMachineServer(a.node.Server, &machine{agent: a})
	if cores > 0 {
		a.worker = a.newWorker(cores)
		if err := errors.Join(clearScratch(o.State), a.heedOwner(cores)); err != nil {
			return nil, errors.Join(err, a.Close())
		}
	}
	a.export()
	return a, nil
}

// clearScratch makes the folder anew in which checkpoints lie until they are stored: what is left there is of units
// that run no more.
func clearScratch(state string) error {
	folder := filepath.Join(state, ScratchFolder)
	if err := errors.Join(os.RemoveAll(folder), os.Mkdir(folder, 0o700)); err != nil {
		return fmt.Errorf("make the folder of checkpoints: %w", err)
	}
	return nil
}

// busy returns the jobs of which units run here.
func (a *Agent) busy() []jobs.JobID {
	if a.worker == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), workerTimeout)
	defer cancel()
	s, err := a.worker.Status(ctx)
	if err != nil {
		a.log.Info("cannot ask the worker what runs", "err", err)
	}
	var out []jobs.JobID
	for _, r := range s.Running {
		out = append(out, r.Job.ID)
	}
	return out
}

func (a *Agent) newWorker(cores int) *worker.Worker {
	return worker.New(worker.Options{
		Slots: cores, Key: a.node.Identity().Key, Chain: func() [][]byte { return a.node.Identity().Chain },
		Self: a.node.ID(), Runtime: a.o.Runtime, Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Store: a.node.Store, Dir: a.node.Blobs, Blobs: a.node.Client, Members: a.node.Members,
		Dial: func(address string, id jobs.AgentID) (grpc.ClientConnInterface, error) {
			return a.node.Dialer.Conn(address, id)
		},
		Steward: a.steward, Lease: a.o.Lease, Runner: a.o.Runner, Log: a.o.Log,
		Runnable: a.node.Store.Runnable, Ledger: a.node.Store.WithLedger, Disk: a.node.Disk, Room: a.node.Blobs.Room, Mend: a.node.Mend,
		Scratch: filepath.Join(a.o.State, ScratchFolder), Working: a.working, Ended: a.ended, Moved: a.o.Hooks.Moved,
		Overhead: a.o.Overhead,
	})
}

// Offer is what a machine lets its worker use: see worker.Offer.
type Offer = worker.Offer

// Offer makes the worker keep to an offer; it returns when what may not go on stands still. Where no units run it does
// nothing.
func (a *Agent) Offer(o Offer) error {
	if a.worker == nil {
		return nil
	}
	return a.worker.SetOffer(o)
}

// Identity returns who this agent is.
func (a *Agent) Identity() *identity.Identity { return a.node.Identity() }

// Node returns what this agent has in common with other peers, for whoever looks into one that runs: the pool as
// it sees it, its records and its blobs.
func (a *Agent) Node() *node.Node { return a.node }

// Steps returns how often the worker has looked around so far: one with nothing to do seldom does. It is 0 where
// no units run.
func (a *Agent) Steps() int64 {
	if a.worker == nil {
		return 0
	}
	return a.worker.Steps()
}

// Address returns where others reach this agent.
func (a *Agent) Address() string { return a.node.Address() }

// Run works until ctx ends, or the agent was told to leave the grid: first units stop and what is finished is
// journalled, then the agent says goodbye to the pool. That takes at most five seconds, whoever hangs or is off:
// two for the last checkpoints, two for the last packs and the last word to stewards (worker/stop.go), one for running
// calls and the goodbye together (node.Serve), and what the disk takes for one pack.
func (a *Agent) Run(ctx context.Context) error {
	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	if a.worker != nil {
		work.Go(func() { a.worker.Run(ctx) })
	}
	if a.harvest != nil {
		work.Go(func() {
			if err := a.harvest.Run(ctx); err != nil {
				a.log.Warn("cannot save the figures of the owner's side", "err", err)
			}
		})
	}
	if a.o.Metrics != nil {
		work.Go(func() {
			if err := exporter.Serve(ctx, a.o.Metrics, a.registry, a.log.With("component", "metrics")); err != nil {
				a.log.Warn("nobody can scrape this agent any more", "err", err)
			}
		})
	}
	work.Go(func() { a.watchLessees(ctx) })
	defer context.AfterFunc(ctx, a.node.Throttle.Lift)() // the last packs and checkpoints have little time
	work.Go(func() { a.passEndsOn(ctx) })
	work.Go(func() { a.steward.Watch(ctx, a.node.Woke) })
	served := make(chan error, 1)
	go func() {
		served <- a.node.Serve(serving)
		cancel()
	}()
	a.log.Info("agent runs", "id", a.node.ID(), "class", a.Identity().Caller().Class, "address", a.Address())
	select {
	case <-ctx.Done():
	case <-a.departed:
		cancel()
	}
	work.Wait()
	stopServing()
	return <-served
}

// learn takes over what another steward of a shard has of it, and returns what it was told of checkpoints.
func (a *Agent) learn(ctx context.Context, shard jobs.ShardID, from peer.Member) ([]*gridv1.Record, error) {
	if err := a.node.Learn(ctx, shard, from); err != nil {
		return nil, err
	}
	conn, err := a.node.Dialer.Conn(from.Address, from.ID)
	if err != nil {
		return nil, err
	}
	return steward.NotesOf(ctx, conn, shard)
}

// Close releases everything. Twice is harmless.
func (a *Agent) Close() error {
	a.steward.Close()
	err := errors.Join(a.node.Close(), exporter.Close(a.o.Metrics))
	if a.folder != nil {
		err = errors.Join(err, a.folder.Close())
	}
	return err
}

func (a *Agent) onWake(job jobs.JobID) {
	if a.worker != nil {
		a.worker.Wake(job)
	}
}

func (a *Agent) onChange(c records.Change) {
	if c.Scope.Reports {
		return
	}
	if c.Fresh {
		a.steward.Seeded(c.Job)
	}
	a.onWake(c.Job) // the worker looks which jobs live, at once
	if !c.Ended.IsZero() {
		a.onEnd(c)
		a.over(c.Job)
	}
}

func (a *Agent) onMembers() {
	select {
	case a.departures <- struct{}{}:
	default: // a look is due anyway
	}
}

// watchLessees ends the leases of agents that left gossip and do not answer a dial: gossip alone decides
// nothing.
func (a *Agent) watchLessees(ctx context.Context) {
	last := map[jobs.AgentID]peer.Member{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.departures:
		}
		now := map[jobs.AgentID]peer.Member{}
		for _, m := range a.node.Members() {
			now[m.ID] = m
		}
		lessees := a.steward.Lessees()
		for id, m := range last {
			if _, here := now[id]; !here && lessees[id] && !a.answers(ctx, m) && ctx.Err() == nil {
				a.log.Info("an agent is gone, its leases end", "agent", id)
				a.steward.Lost(id)
			}
		}
		last = now
	}
}

func (a *Agent) answers(ctx context.Context, m peer.Member) bool {
	ctx, cancel := context.WithTimeout(ctx, lostDial)
	defer cancel()
	conn, err := a.node.Dialer.Conn(m.Address, m.ID)
	if err != nil {
		return false
	}
	_, err = gridv1.NewMembersClient(conn).List(ctx, &gridv1.ListRequest{})
	return err == nil
}
