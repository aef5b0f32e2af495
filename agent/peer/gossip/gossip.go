package gossip

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// keySize is that of AES-256: memberlist would take shorter keys too.
const keySize = 32

// Options are what a Gossip is made of.
type Options struct {
	// Key is the machine's key; the agent ID is its digest.
	Key ed25519.PrivateKey
	// Boot counts the starts of this machine's agent. It must be higher at each New.
	Boot uint64
	// Advertise is where others reach this peer's packets and streams.
	Advertise netip.AddrPort
	// Secrets are the gossip keys of 32 bytes. The first encrypts, all decrypt.
	Secrets [][]byte
	// State is what the peer says of itself at first.
	State State
	// CoresEvery is how often the cores that others see change at most; 0: as often as the pool's size allows.
	CoresEvery time.Duration

	// Packets carries the gossip. New takes it over: it is closed by Close, or by a New that fails.
	Packets net.PacketConn
	// Streams brings the gossip streams that others opened to us, authenticated. It may be closed.
	Streams <-chan net.Conn
	// Dial opens a gossip stream to a peer, authenticated. A zero expect stands for any peer.
	Dial func(ctx context.Context, addr string, expect jobs.AgentID) (net.Conn, error)
	// VerifyVoucher says whether the authority gave this voucher. It should leave the date to this package,
	// which allows for clocks that differ by ten minutes. It is called by several goroutines, with locks
	// held, and must not block.
	VerifyVoucher func(pub ed25519.PublicKey, role peer.Role, class peer.Class, notAfter time.Time, voucher []byte) error

	// OnChange is called some time after Members changed; several changes may share a call. OnWake is
	// called for each wake-up that arrived, unless they come faster than it returns. Both are called by
	// one goroutine, one at a time, may be nil, and must not call Close.
	OnChange func()
	OnWake   func(Wake)
	Log      *slog.Logger
}

// Validate reports everything that is wrong with the options.
func (o *Options) Validate() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, jobs.Errorf(jobs.Invalid, format, args...))
		}
	}
	want(len(o.Key) == ed25519.PrivateKeySize, "key of %d bytes, expected %d", len(o.Key), ed25519.PrivateKeySize)
	want(usable(o.Advertise), "advertised address %q: expected an IP address and a port that others can reach", o.Advertise)
	want(len(o.Secrets) > 0, "no gossip key")
	for _, s := range o.Secrets {
		want(len(s) == keySize, "gossip key of %d bytes, expected %d", len(s), keySize)
	}
	want(o.Packets != nil, "no packet connection")
	want(o.Streams != nil, "no streams")
	want(o.Dial != nil, "no dialer")
	want(o.VerifyVoucher != nil, "no verifier of vouchers")
	want(o.Log != nil, "no log")
	if len(errs) == 0 {
		return nil
	}
	return jobs.Errorf(jobs.Invalid, "gossip options: %w", errors.Join(errs...))
}

// Gossip is this peer's part in the pool. Its methods may be called by any goroutine.
type Gossip struct {
	id     jobs.AgentID
	name   string
	opts   Options
	log    *slog.Logger
	list   *memberlist.Memberlist
	roster *roster
	stats  counters

	transport *transport // made by run

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	closed chan struct{} // closed when Close is through

	changed    chan struct{} // Members changed
	dirty      chan struct{} // state changed
	superseded chan struct{} // an agent has begun another run
	wakes      chan Wake

	// turn is held for calls into memberlist that must not overlap: it panics on a Leave after its
	// shutdown and on an update after its Leave. It is a channel because it is held while time passes.
	turn chan struct{}
	left bool // guarded by turn

	mu    sync.Mutex // guards everything below; nothing waits while it is held
	state State      // what Update made of it
	meta  []byte     // what is announced
	ended bool

	twinned  time.Time // when it was last said that another runs with this identity
	stranger string    // the address of who was refused last because its voucher does not hold, until it is asked for
	work     sync.WaitGroup
}

// New makes the peer a member of a pool of its own and starts listening; Join makes it one of others' pool.
func New(o Options) (*Gossip, error) {
	g, err := newGossip(o)
	if err != nil {
		if o.Packets != nil {
			err = errors.Join(err, o.Packets.Close())
		}
		return nil, err
	}
	if err := g.run(); err != nil {
		return nil, err
	}
	return g, nil
}

// run starts memberlist and the goroutines of this package.
func (g *Gossip) run() error {
	g.transport = newTransport(g)
	var err error
	if g.list, err = memberlist.Create(g.config()); err != nil {
		// Create does not say whether it got as far as stopping the transport; stopping twice is harmless.
		g.cancel()
		return errors.Join(jobs.Errorf(jobs.Internal, "start gossip: %w", err), ignoreClosed(g.opts.Packets.Close()))
	}
	g.start(g.callBack)
	g.start(g.announce)
	g.start(g.buryFormer)
	return nil
}

func newGossip(o Options) (*Gossip, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	g := &Gossip{
		id: jobs.AgentID(jobs.DigestOf(o.Key.Public().(ed25519.PublicKey))), opts: o, log: o.Log, roster: newRoster(),
		closed: make(chan struct{}), changed: make(chan struct{}, 1), dirty: make(chan struct{}, 1),
		superseded: make(chan struct{}, 1), wakes: make(chan Wake, maxQueuedWakes),
		turn: make(chan struct{}, 1), state: o.State.clone(),
	}
	g.name = nameOf(g.id, o.Boot)
	meta, err := encodeMeta(g.state, o.Key, g.name, o.Advertise)
	if err != nil {
		return nil, err
	}
	g.meta = meta
	v := g.state.Voucher
	if expired(v.NotAfter, time.Now()) {
		return nil, jobs.Errorf(jobs.Expired, "this machine's voucher ended at %s", v.NotAfter)
	}
	if err := o.VerifyVoucher(o.Key.Public().(ed25519.PublicKey), v.Role, v.Class, v.NotAfter, v.Signature); err != nil {
		return nil, jobs.Errorf(jobs.Denied, "this machine's own voucher: %w", err)
	}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	return g, nil
}

// start runs f, which Close waits for. After Close it does nothing.
func (g *Gossip) start(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.ended {
		g.work.Go(f)
	}
}

// callBack calls OnChange and OnWake, so that memberlist's goroutines never do.
func (g *Gossip) callBack() {
	for {
		select {
		case <-g.ctx.Done():
			return
		case <-g.changed:
			if g.opts.OnChange != nil {
				g.opts.OnChange()
			}
		case w := <-g.wakes:
			if g.opts.OnWake != nil {
				g.opts.OnWake(w)
			}
		}
	}
}

// ID returns this peer's agent ID.
func (g *Gossip) ID() jobs.AgentID { return g.id }

// Members returns the live members, this peer among them, ordered by ID. The slice is the caller's.
func (g *Gossip) Members() []peer.Member { return g.roster.members(time.Now()) }

// Leave tells the pool that this peer goes, and waits until the word is out or the time is over. Members
// does not list this peer any more.
func (g *Gossip) Leave(timeout time.Duration) error {
	g.turn <- struct{}{}
	defer func() { <-g.turn }()
	if g.left || g.ctx.Err() != nil {
		return nil
	}
	g.left = true
	if err := g.list.Leave(timeout); err != nil {
		return jobs.Errorf(jobs.Unavailable, "leave the pool: %w", err)
	}
	return nil
}

// Close stops listening and waits for every goroutine that this package started. Without a Leave before
// it, the pool sees a death. Closing twice is harmless. Goroutines of memberlist may outlive it: they end
// within a minute and touch nothing but their own memory.
func (g *Gossip) Close() error {
	g.mu.Lock()
	again := g.ended
	g.ended = true
	g.mu.Unlock()
	if again {
		<-g.closed
		return nil
	}
	defer close(g.closed)
	g.turn <- struct{}{} // a Leave or an announcement ends first
	g.cancel()
	<-g.turn
	err := g.list.Shutdown()
	g.work.Wait()
	return err
}

// Stranger returns the address of one whose claim was refused since the last call because its voucher does not hold
// here, and "" where there was none. After the authority's key was replaced that may be a good member, whose issuer a
// connection with it tells. Whoever has the gossip key can have any address returned.
func (g *Gossip) Stranger() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	address := g.stranger
	g.stranger = ""
	return address
}

// Stats counts what was ignored since New.
type Stats struct {
	Refused   uint64 // claims of members that did not hold
	Malformed uint64 // wake-ups that made no sense
	Dropped   uint64 // wake-ups that came faster than OnWake returned
}

type counters struct{ refused, malformed, dropped atomic.Uint64 }

// Stats returns the counts.
func (g *Gossip) Stats() Stats {
	return Stats{
		Refused: g.stats.refused.Load(), Malformed: g.stats.malformed.Load(), Dropped: g.stats.dropped.Load(),
	}
}

// signal tells the one receiver of c that there is something to do; it need not know how much.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
