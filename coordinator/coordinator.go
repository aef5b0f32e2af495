// Package coordinator is the lightweight centre of a grid: it enrols machines, admits jobs, seeds them, and
// reports throughput and what it cost. It keeps no ledger and lends nothing; with it off, nothing that was seeded stops.
//
//	gridctl ──Submit──▶ admission ──▶ seeding ──manifest, blobs──▶ agents
//	browser ◀── web ◀── accounts ◀──── throughput ◀──summaries───── stewards
package coordinator

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/program/exporter"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/admission"
	"idlegrid/coordinator/internal/seeding"
	"idlegrid/coordinator/internal/throughput"
	"idlegrid/coordinator/internal/web"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Init makes a new grid in an empty folder: root and issuing CA, the coordinator's own certificate, the
// gossip key and the limits file.
func Init(dir *os.Root) error {
	authority, err := identity.Create(dir)
	if err != nil {
		return err
	}
	key, _, err := identity.EnsureKey(dir)
	if err != nil {
		return err
	}
	return errors.Join(admission.WriteConfig(dir), certify(dir, authority, key, node.Grid{}))
}

// Token mints a one-time token. The addresses are where newcomers find the coordinator. A folder with only a
// backup's keys is completed first, so that the token counts as made after that.
func Token(dir *os.Root, spec identity.TokenSpec) (string, error) {
	authority, err := openAuthority(dir)
	if err != nil {
		return "", err
	}
	if err := restore(dir, authority, slog.New(slog.DiscardHandler)); err != nil {
		return "", err
	}
	return authority.Mint(spec)
}

// Reissue replaces the issuing key, which needs root-key.pem in the folder, and gives the coordinator a certificate
// by the new one.
func Reissue(dir *os.Root) error {
	key, err := identity.LoadKey(dir)
	if err != nil {
		return err
	}
	grid, err := node.LoadGrid(dir)
	if err != nil {
		return err
	}
	authority, err := identity.Reissue(dir)
	if err != nil {
		return err
	}
	return certify(dir, authority, key, grid)
}

// Options say how a coordinator is made.
type Options struct {
	State     string // the state folder, made by Init
	Network   node.Network
	Advertise string       // IP:port; empty: where it listens
	Join      []string     // host:port of peers to join by, beside those it knows
	Metrics   net.Listener // plain HTTP for Prometheus; nil: none
	Page      web.Settings // for browsers
	Log       *slog.Logger
}

// Coordinator is a running coordinator. New opens it, Run works until its context ends, Close releases all.
type Coordinator struct {
	o       Options
	log     *slog.Logger
	dir     *os.Root
	node    *node.Node
	admit   *admission.Service
	seeder  *seeding.Seeder
	gather  *throughput.Gatherer
	book    *accounts.Book
	metrics *prometheus.Registry // of the page for Prometheus
	calls   *prometheus.CounterVec
	page    *web.Page // nil: none
	reader  *reader   // for the page
	issuer  time.Time // when the issuing certificate ends
	handed  bool      // the network belongs to the node
}

// New opens a coordinator. It takes over o.Network and o.Metrics.
func New(o Options) (*Coordinator, error) {
	c := &Coordinator{o: o, log: o.Log, calls: newCalls()}
	if err := c.open(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Coordinator) open() error {
	var err error
	if c.dir, err = os.OpenRoot(c.o.State); err != nil {
		return jobs.WithHint(jobs.Errorf(jobs.NotFound, "open state folder: %w", err), "make a grid first: gridcoordinator init")
	}
	authority, err := openAuthority(c.dir)
	if err != nil {
		return err
	}
	if err := restore(c.dir, authority, c.log); err != nil {
		return err
	}
	c.issuer = authority.Ends()
	config, err := admission.LoadConfig(c.dir)
	if err != nil {
		return err
	}
	if _, err := c.dir.Stat(admission.ConfigFile); errors.Is(err, fs.ErrNotExist) {
		c.log.Warn("no limits file: what is admitted is as after gridcoordinator init", "file", admission.ConfigFile)
	}
	policy := &latePolicy{}
	c.handed = true // node.New closes the network if it fails
	if c.node, err = node.New(c.nodeOptions(authority, config, policy), node.Hooks{OnChange: c.onChange, OnAnswer: c.answered}); err != nil {
		return err
	}
	dial := func(address string, id jobs.AgentID) (grpc.ClientConnInterface, error) {
		return c.node.Dialer.Conn(address, id)
	}
	c.seeder = seeding.New(seeding.Options{
		Store: c.node.Store, Blobs: c.node.Blobs, Place: c.node.Client.Place, Dial: dial,
		Members: c.node.Members, Log: c.o.Log,
	})
	c.admit, err = admission.New(admission.Options{
		Config: config, Authority: authority, Identity: c.node.Identity, Store: c.node.Store, Blobs: c.node.Blobs,
		Members: c.node.Members, GossipKeys: c.node.Grid().GossipKeys, TokensSince: c.node.Grid().TokensSince,
		Seed: c.seeder.Seed, Log: c.o.Log,
	})
	if err != nil {
		return err
	}
	policy.service = c.admit
	gridv1.RegisterCoordinatorServer(c.node.Server, c.admit)
	gridv1.RegisterControlServer(c.node.Server, &control{coordinator: c})
	c.book, err = accounts.New(accounts.Options{
		Path: filepath.Join(c.o.State, accounts.File), Owner: c.node.Store.Owner, Submitters: config.MetricsSubmitters, Log: c.o.Log,
	})
	if err != nil {
		return err
	}
	shipped, err := admission.DefaultConfig()
	if err != nil {
		return err
	}
	gridv1.RegisterAccountsServer(c.node.Server, &accountant{book: c.book, costs: config.Costs, shipped: shipped.Costs})
	if err := c.export(config.Costs); err != nil {
		return err
	}
	c.metrics.MustRegister(c.book)
	c.gather = throughput.New(throughput.Options{
		Store: c.node.Store, Members: c.node.Members, Dial: dial, Register: c.metrics, Saw: c.book.Saw, Log: c.o.Log,
		Watched: func() bool { return c.page != nil && c.page.Followed() },
	})
	return c.openPage(dial, config.Costs)
}

func (c *Coordinator) nodeOptions(authority *identity.Authority, config admission.Config, policy *latePolicy) node.Options {
	o := node.Options{
		State: c.o.State, Network: c.o.Network, Advertise: c.o.Advertise, Join: c.o.Join,
		Accept: identity.Accept{Anonymous: true, Expired: true}, Policy: policy, Quota: config.MaxDiskMiB << 20, Log: c.o.Log,
		Renew: func(_ context.Context, old *identity.Identity) (*identity.Identity, []byte, error) {
			return selfIssue(authority, old.Key)
		},
	}
	if c.o.Metrics != nil {
		o.Metrics = c.o.Metrics.Addr().String()
	}
	return o
}

// onChange stops handing over what was cancelled or sealed, and has looked at what becomes of the others. The node calls it
// once it serves, which is after open.
func (c *Coordinator) onChange(change records.Change) {
	if !change.Ended.IsZero() {
		c.seeder.Ended(change.Job)
	}
	if !change.Scope.Reports {
		c.gather.News(change.Job)
	}
}

// latePolicy is the admission service as the node's blob policy: the node is made before the service that
// needs its store, and serves after both.
type latePolicy struct{ service *admission.Service }

// MayRead implements blobs.Policy.
func (p *latePolicy) MayRead(caller identity.Caller, job jobs.JobID) error {
	return p.service.MayRead(caller, job)
}

// MayWrite implements blobs.Policy.
func (p *latePolicy) MayWrite(caller identity.Caller, c blobs.Claim, b jobs.Blob) error {
	return p.service.MayWrite(caller, c, b)
}

// Node returns what the coordinator has in common with other peers, for whoever looks into one that runs.
func (c *Coordinator) Node() *node.Node { return c.node }

// Accounts returns what the grid's work has cost, as far as this coordinator knows.
func (c *Coordinator) Accounts() *accounts.Book { return c.book }

// Address returns where others reach the coordinator.
func (c *Coordinator) Address() string { return c.node.Address() }

// Run works until ctx ends.
func (c *Coordinator) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var work sync.WaitGroup
	work.Go(func() { c.seeder.Run(ctx) })
	work.Go(func() { c.gather.Run(ctx) })
	work.Go(func() { c.book.Run(ctx) })
	var metricsErr, pageErr error
	if c.page != nil {
		work.Go(func() {
			pageErr = c.page.Run(ctx)
			cancel()
		})
	}
	if c.o.Metrics != nil {
		work.Go(func() {
			if metricsErr = exporter.Serve(ctx, c.o.Metrics, c.metrics, c.log); metricsErr != nil {
				cancel()
			}
		})
	}
	c.log.Info("coordinator runs", "id", c.node.ID(), "address", c.Address())
	err := c.node.Serve(ctx)
	cancel()
	work.Wait()
	return errors.Join(err, metricsErr, pageErr)
}

// Close releases everything. Twice is harmless.
func (c *Coordinator) Close() error {
	var err error
	switch {
	case c.node != nil:
		err = c.node.Close()
	case !c.handed:
		err = errors.Join(c.o.Network.Listener.Close(), c.o.Network.Packets.Close())
	}
	err = errors.Join(err, exporter.Close(c.o.Metrics))
	if c.page != nil {
		err = errors.Join(err, c.page.Close())
	}
	if c.reader != nil {
		err = errors.Join(err, c.reader.close())
		c.reader = nil
	}
	if c.book != nil {
		err = errors.Join(err, c.book.Close())
	}
	if c.dir != nil {
		err = errors.Join(err, c.dir.Close())
		c.dir = nil
	}
	return err
}
