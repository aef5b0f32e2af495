package node

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/durable"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/gossip"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	recordsFile = "records.db"
	blobsFolder = "blobs"

	// stopTimeout bounds how long running calls may go on at the end, and leaveTimeout the goodbye to the pool at
	// the same time: an agent, whose worker stops before, ends within five seconds.
	stopTimeout  = time.Second
	leaveTimeout = time.Second
)

// DutyLabel is a label of the goroutines of a duty, and of the context of the calls that they make, by which profiles
// and whoever counts calls tell them from the rest; DutyCopies is that of looking after the copies of blobs.
const (
	DutyLabel  = "duty"
	DutyCopies = "copies"
)

// Hooks tell the owner of a node what happened. None may block; each may be nil.
type Hooks struct {
	OnWake    func(jobs.JobID)                         // a job has open units
	OnChange  func(records.Change)                     // records were added
	OnMembers func()                                   // the pool changed
	OnForget  func(jobs []jobs.JobID)                  // these jobs are past their time, or were cancelled or sealed a while ago
	OnDisk    func(error)                              // this peer cannot write to its state folder; nil: it can again
	OnCall    func(who identity.Caller, method string) // somebody calls, and may
	OnAnswer  rpc.Answered                             // a call has ended
}

// Options say how a node is made.
type Options struct {
	State       string // the state folder; it has joined a grid
	Network     Network
	Advertise   string   // IP:port; empty: where it listens
	Join        []string // host:port of peers to join by, beside those it knows
	Metrics     string   // host:port of the metrics page for addresses.json, or empty
	Accept      identity.Accept
	Cores       int                 // offered in gossip
	CoresEvery  time.Duration       // how often that changes at most; 0: as often as the pool's size allows
	Policy      blobs.Policy        // nil: PeerPolicy
	Quota       int64               // bytes of blobs, 0: no limit
	RepairRate  int64               // bytes a second that are moved at most to repair copies; 0: RepairRate
	Busy        func() []jobs.JobID // of which units run here; nil: none
	OfferWithin time.Duration       // what is kept is offered to new stewards so soon; 0: 5 s
	BeforeWrite func() error        // its error is that of a write to the state folder, for tests; nil: none
	// Wall is the machine's clock as far as it decides what has expired, for tests in which one of them is wrong;
	// nil: time.Now.
	Wall func() time.Time
	// Renew makes a new certificate; nil: ask the coordinator.
	Renew func(ctx context.Context, old *identity.Identity) (*identity.Identity, []byte, error)
	Log   *slog.Logger
}

// Node is one peer. New opens it, Serve runs it, Close ends it.
type Node struct {
	o        Options
	log      *slog.Logger
	dir      *os.Root
	grid     atomic.Pointer[Grid]
	id       atomic.Pointer[identity.Identity]
	hooks    Hooks
	listener *rpc.Listener
	gossip   *gossip.Gossip
	address  netip.AddrPort
	wakes    chan gossip.Wake
	moved    chan struct{} // the pool changed
	woke     chan struct{} // this machine has slept
	mends    chan struct{} // one for each report that is mended
	disk     *durable.Disk
	drains   drains
	repairs  budget
	counted  sync.Map      // of jobs.ShardID: the peer.BlobCounts of those that this peer is the first steward of
	evicting chan struct{} // holds a token while room is made for a blob that waits; guards evicted
	evicted  time.Time     // when that was tried last, and of no use
	clocks   clocks
	started  time.Time
	// unreachable is what the last peer said that could not dial back; nil: one could.
	unreachable atomic.Pointer[string]
	issuers     issuers

	Server *grpc.Server // register services before Serve
	Dialer *rpc.Dialer
	Store  *records.Store
	Blobs  *blobs.Dir
	Client *blobs.Client
	// Throttle bounds how fast blobs move here.
	Throttle blobs.Throttle

	life    context.Context // ends with Close
	endLife context.CancelFunc
	serving chan struct{} // holds a token while Serve runs; a channel because time passes meanwhile
	stop    sync.Once
}

// New opens the state folder and joins nothing yet. It takes over o.Network. The hooks are set before any is
// called.
func New(o Options, hooks Hooks) (*Node, error) {
	o.OfferWithin = cmp.Or(o.OfferWithin, offerWithin)
	if o.Wall == nil {
		o.Wall = time.Now
	}
	n := &Node{
		repairs: budget{rate: cmp.Or(o.RepairRate, RepairRate)},
		o:       o, hooks: hooks, disk: durable.NewDisk(o.BeforeWrite), log: o.Log.With("component", "node"), started: time.Now(),
		wakes: make(chan gossip.Wake, 64),
		moved: make(chan struct{}, 1), woke: make(chan struct{}, 1), mends: make(chan struct{}, maxMends), serving: make(chan struct{}, 1),
		evicting: make(chan struct{}, 1),
	}
	n.life, n.endLife = context.WithCancel(context.Background())
	if err := n.open(); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open() error {
	var err error
	if n.dir, err = os.OpenRoot(n.o.State); err != nil {
		return notJoined(err)
	}
	id, err := identity.Load(n.dir)
	if err != nil {
		return notJoined(err)
	}
	n.id.Store(id)
	n.Dialer = rpc.NewDialer(rpc.DialOptions{Identity: n.Identity, Root: id.Root, Dial: n.o.Network.Dial, Calls: n.o.Network.Calls, Met: n.met})
	n.Store, err = records.Open(records.Options{
		Path: filepath.Join(n.o.State, recordsFile), Root: id.Root, Self: id.ID(), Members: n.Members, Log: n.o.Log,
		Disk: n.disk, Wall: n.gridTime, Clock: n.o.Wall, OnChange: func(c records.Change) { call(n.hooks.OnChange, c) },
	})
	if err != nil {
		return err
	}
	// The records' lock keeps a second process out; it must not get as far as the blobs. An agent whose data is being
	// removed has no grid.json any more when the lock is free.
	grid, err := LoadGrid(n.dir)
	if err != nil {
		return err
	}
	n.grid.Store(&grid)
	if err := n.renewExpired(); err != nil {
		return err
	}
	if n.Blobs, err = blobs.OpenDir(filepath.Join(n.o.State, blobsFolder), n.o.Quota); err != nil {
		return err
	}
	n.Blobs.Disk, n.Blobs.Throttle = n.disk, &n.Throttle
	n.Blobs.MakeRoom = n.roomFor
	n.Blobs.Shares = blobs.Shares{Self: id.ID(), Submitter: n.submitter}
	if err := n.forgetOrphans(); err != nil {
		return err
	}
	n.Client = blobs.NewClient(n.Blobs, n.Dialer, id.Key)
	n.Client.Throttle = &n.Throttle
	return n.listen(id)
}

// submitter returns whose a job is.
func (n *Node) submitter(id jobs.JobID) (jobs.KeyID, bool) {
	job, err := n.Store.Job(id)
	if err != nil {
		return jobs.KeyID{}, false
	}
	return job.Manifest.Submitter, true
}

// forgetOrphans removes blobs of jobs of which there is no record: of one whose records were deleted just before
// this peer ended, or whose upload never came to an end. Where there are no records at all they were lost, and come
// back from others: the blobs stay, which others may not have any more.
func (n *Node) forgetOrphans() error {
	if n.Store.IsEmpty() {
		return nil
	}
	seen := map[jobs.JobID]bool{}
	for _, kept := range n.Blobs.List() {
		for _, job := range kept.Jobs() {
			if seen[job] {
				continue
			}
			seen[job] = true
			if n.Store.Keeps(job) {
				continue
			}
			if err := blobs.Forget(n.Blobs, job); err != nil {
				return fmt.Errorf("remove blobs of a job that is gone: %w", err)
			}
		}
	}
	return nil
}

func (n *Node) listen(id *identity.Identity) error {
	peers, err := n.knownPeers()
	if err != nil {
		return err
	}
	if n.address, err = advertised(n.o.Network, n.o.Advertise, peers); err != nil {
		return err
	}
	n.listener = rpc.Listen(n.o.Network.Listener, rpc.ListenOptions{Identity: n.Identity, Accept: n.o.Accept, Met: n.met, Log: n.o.Log})
	n.gossip, err = gossip.New(gossip.Options{
		Key: id.Key, Boot: n.Store.Boot(), Advertise: n.address, Secrets: n.grid.Load().GossipKeys,
		State: gossip.State{Voucher: n.voucher(), Cores: n.o.Cores}, CoresEvery: n.o.CoresEvery,
		Packets: n.o.Network.Packets, Streams: n.listener.Gossip(), Dial: n.Dialer.Stream,
		VerifyVoucher: n.verifyVoucher, Log: n.o.Log.With("component", "gossip"),
		OnChange: func() {
			n.changed()
			if n.hooks.OnMembers != nil {
				n.hooks.OnMembers()
			}
		},
		OnWake: n.woken,
	})
	if err != nil {
		return err
	}
	n.Server = rpc.NewServer(n.o.Log, rpc.Told{Called: n.hooks.OnCall, Answered: n.hooks.OnAnswer})
	policy := n.o.Policy
	if policy == nil {
		policy = PeerPolicy{n.Store, n.Draining}
	}
	gridv1.RegisterRecordsServer(n.Server, records.NewService(n.Store))
	gridv1.RegisterMembersServer(n.Server, newMembers(n))
	gridv1.RegisterBlobsServer(n.Server, blobs.NewService(blobs.ServiceOptions{
		Store: n.Blobs, Policy: policy, Key: id.Key, Throttle: &n.Throttle, Allow: rpc.Allow,
	}))
	return nil
}

// call runs a hook that may be nil.
func call[T any](hook func(T), arg T) {
	if hook != nil {
		hook(arg)
	}
}

// voucher returns what this peer shows in gossip of what it may be.
func (n *Node) voucher() gossip.Voucher {
	c, g := n.Identity().Caller(), n.grid.Load()
	v := gossip.Voucher{Role: c.Role, Class: c.Class, NotAfter: g.VoucherEnds, Signature: g.Voucher}
	if v.NotAfter.IsZero() {
		v.NotAfter = endOf(n.Identity())
	}
	return v
}

// endOf is when the voucher ends that came with an identity.
func endOf(id *identity.Identity) time.Time { return id.Caller().NotAfter.Truncate(time.Second) }

func (n *Node) verifyVoucher(pub ed25519.PublicKey, role peer.Role, class peer.Class, notAfter time.Time, sig []byte) error {
	return identity.VerifyVoucher(identity.Voucher{Key: pub, Role: role, Class: class, NotAfter: notAfter}, sig, n.issuerKeys(), notAfter)
}

// Identity returns who this peer is now; renewal changes it.
func (n *Node) Identity() *identity.Identity { return n.id.Load() }

// ID returns the peer's ID.
func (n *Node) ID() jobs.AgentID { return n.Identity().ID() }

// Address returns where others reach this peer.
func (n *Node) Address() string { return n.address.String() }

// Grid returns what this peer was told when it enrolled.
func (n *Node) Grid() Grid { return *n.grid.Load() }

// Members returns the pool as this peer sees it, itself included.
func (n *Node) Members() []peer.Member {
	if n.gossip == nil {
		return nil // still starting
	}
	return n.gossip.Members()
}

// Member finds a member by ID.
func (n *Node) Member(id jobs.AgentID) (peer.Member, bool) {
	for _, m := range n.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return peer.Member{}, false
}

// Offer tells others how many cores this peer offers, the newest number before long.
func (n *Node) Offer(cores int) error {
	return n.gossip.Update(func(s *gossip.State) { s.Cores = cores })
}

// Wake tells members of a job with open units. This peer's own hook is called directly.
func (n *Node) Wake(to []jobs.AgentID, job jobs.JobID) {
	for i, id := range to {
		if id == n.ID() {
			to = append(append([]jobs.AgentID(nil), to[:i]...), to[i+1:]...)
			call(n.hooks.OnWake, job)
			break
		}
	}
	n.gossip.Wake(to, job)
}

// Serve runs the node until ctx ends, then says goodbye to the pool. It writes addresses.json when it takes
// calls and removes it at the end. It is called at most once; after Close it does nothing.
func (n *Node) Serve(ctx context.Context) error {
	n.serving <- struct{}{}
	defer func() { <-n.serving }()
	if n.life.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.life, cancel)()
	var work sync.WaitGroup
	served := make(chan error, 1)
	work.Go(func() {
		served <- n.Server.Serve(n.listener.GRPC())
		cancel()
	})
	work.Go(func() { n.keepJoined(ctx) })
	work.Go(func() { n.keepReachable(ctx) })
	work.Go(func() { n.keepSpreading(ctx) })
	work.Go(func() { n.keepRenewed(ctx) })
	work.Go(func() { n.keepSwept(ctx) })
	work.Go(func() { n.takeWakes(ctx) })
	work.Go(func() { pprof.Do(ctx, pprof.Labels(DutyLabel, DutyCopies), n.keepBlobs) })
	work.Go(func() { pprof.Do(ctx, pprof.Labels(DutyLabel, DutyCopies), n.keepCopies) })
	failpoint.Hit("node.serving")
	work.Go(func() { n.keepDisk(ctx) })
	err := n.announce()
	if err != nil {
		cancel()
	}
	<-ctx.Done()
	err = errors.Join(err, n.withdraw())
	work.Go(func() {
		if leaveErr := n.gossip.Leave(leaveTimeout); leaveErr != nil {
			n.log.Info("some peers will take this one for dead for a while", "err", leaveErr)
		}
	})
	n.stopServer()
	work.Wait()
	if serveErr := <-served; serveErr != nil && !errors.Is(serveErr, grpc.ErrServerStopped) {
		err = errors.Join(err, fmt.Errorf("serve: %w", serveErr))
	}
	return err
}

func (n *Node) announce() error {
	return saveJSON(n.dir, addressesFile, Addresses{
		Grid: n.Address(), Local: local(n.o.Network.Listener.Addr()), Metrics: n.o.Metrics, IDText: n.ID().String(), PID: os.Getpid(),
	}, 0o644)
}

func (n *Node) withdraw() error {
	if err := n.dir.Remove(addressesFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// stopServer lets running calls end, within a bound.
func (n *Node) stopServer() {
	done := make(chan struct{})
	go func() {
		n.Server.GracefulStop()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(stopTimeout):
		n.Server.Stop()
		<-done
	}
}

// Close releases everything, last opened first. It ends a Serve that still runs and waits for it. Twice is
// harmless, and so is without Serve; after Serve it must be called too.
func (n *Node) Close() error {
	var err error
	n.stop.Do(func() {
		n.endLife()
		n.serving <- struct{}{} // Serve has ended
		err = n.release()
		<-n.serving
	})
	return err
}

// release closes what open has opened so far.
func (n *Node) release() error {
	var err error
	if n.gossip != nil {
		err = errors.Join(err, n.gossip.Close())
	}
	switch {
	case n.listener != nil:
		err = errors.Join(err, n.listener.Close())
	case n.o.Network.Listener != nil:
		err = errors.Join(err, n.o.Network.Listener.Close())
	}
	if n.gossip == nil && n.o.Network.Packets != nil {
		err = errors.Join(err, ignoreClosed(n.o.Network.Packets.Close()))
	}
	if n.Dialer != nil {
		n.Dialer.Close()
	}
	if n.Blobs != nil {
		err = errors.Join(err, n.Blobs.Close())
	}
	if n.Store != nil { // its lock keeps other processes out of all this
		err = errors.Join(err, n.Store.Close())
	}
	if n.dir != nil {
		err = errors.Join(err, n.dir.Close())
	}
	return err
}
