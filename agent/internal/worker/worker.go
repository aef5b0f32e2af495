package worker

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/steward"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// Runner runs units; an error is the agent's own fault, a unit's failure is in the result.
type Runner interface {
	Prepare(ctx context.Context, p *executor.Program) error
	Run(ctx context.Context, p *executor.Program, u *executor.Unit) (executor.Result, error)
	// Allow lets at most n units go on from now on, those that began first, and freezes the others: it returns when
	// they stand still. A frozen unit takes no time of its timeout, and is told of by Unit.Frozen. Units that begin
	// beyond n wait. An error means that units that could not be frozen were ended.
	Allow(n int) error
}

// Blobs is what a worker needs of the peer's blobs.
type Blobs interface {
	// Fetch brings a blob into the local store from one of the members.
	Fetch(ctx context.Context, claim blobs.Claim, blob jobs.Blob, from []peer.Member) error
	// Place stores a local blob at the members that should hold it and returns their receipts. An error, when
	// there are too few, comes with those that there are.
	Place(ctx context.Context, claim blobs.Claim, blob jobs.Blob, members []peer.Member) ([]record.Envelope, error)
	// PlaceCheckpoint stores the parts of a checkpoint at the members that should hold it.
	PlaceCheckpoint(ctx context.Context, p blobs.Parts, members []peer.Member) ([]record.Envelope, error)
	// Release drops this agent's checkpoints of units, here and at the members.
	Release(ctx context.Context, job jobs.JobID, units []uint64, at []peer.Member) error
}

// Local is the exchange with the steward on this very agent.
type Local interface {
	Local(req *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error)
}

// Options say what a Worker needs.
type Options struct {
	Slots    int // units at once, at least one
	Key      ed25519.PrivateKey
	Chain    func() [][]byte // this agent's certificate chain
	Self     jobs.AgentID
	Runtime  string // named in reports
	Platform string
	Store    *records.Store
	Dir      *blobs.Dir
	Blobs    Blobs
	Members  func() []peer.Member
	Dial     func(address string, id jobs.AgentID) (grpc.ClientConnInterface, error)
	Steward  Local
	// Mend gives the pack of a report in the journal to those who may hold it now, and returns its receipts.
	Mend     func(ctx context.Context, report jobs.Digest) ([]record.Envelope, error)
	Lease    steward.Lease // zero: the defaults
	Runner   Runner
	Runnable func(jobs.JobID) error // why no unit of a job may start; nil: they may
	// Ledger calls f with what is known here of a shard; f must not block.
	Ledger func(shard jobs.ShardID, f func(*ledger.Ledger)) error
	Disk   func() error // why nothing can be written here; nil: it can
	Room   func() int64 // bytes of blobs that Dir still takes
	// Scratch is a folder for checkpoints until they are in Dir, on the same disk or not; empty: none are made.
	Scratch string
	// Working is told when units begin to run here, and when the last one that ran has ended; Ended of each that ended
	// by itself; and Moved, by many at once, of the bytes of a job's blobs that came here to run its units, and of those
	// of checkpoints that were made here for others. None of them may block; nil: nobody is told.
	Working func(bool)
	Ended   func(Ended)
	Moved   func(job records.Job, in, out int64)
	// Overhead is the CPU time that this agent has used so far for all that is no unit's; nil: it is not counted. It is
	// called once a second at most, and only while work is held.
	Overhead func() time.Duration
	Log      *slog.Logger
}

// Ended is a unit that ended here.
type Ended struct {
	Job     records.Job
	Unit    uint64
	Times   jobs.Times
	Failure jobs.Failure // zero: it succeeded
	Memory  uint64       // bytes that it came to have; 0: not known
	Bytes   int          // of its outcome
}

// The causes with which units are cancelled.
var (
	errDropped  = errors.New("the steward took the lease back")
	errDead     = errors.New("the job has ended")
	errStopping = errors.New("the agent is stopping")
	errLeaving  = errors.New("the agent leaves the grid")
)

// Worker runs units until its context ends.
type Worker struct {
	o   Options
	log *slog.Logger

	wakes  chan jobs.JobID // hints that a job has open units
	events chan event
	nudges chan struct{} // make a step

	offering sync.Mutex // held by SetOffer: offers take effect in their order
	offered  atomic.Pointer[Offer]

	tasks sync.WaitGroup // goroutines that will send one event
	steps atomic.Int64

	saving    context.Context // of checkpoints on their way to holders; ends with the worker
	endSaving context.CancelFunc

	state
}

// event is what a goroutine of the worker ends with; it runs in the worker's own goroutine.
type event func(now time.Time)

// New returns a worker that has not started.
func New(o Options) *Worker {
	o.Lease = o.Lease.OrDefault()
	w := &Worker{
		o: o, log: o.Log.With("component", "worker"),
		wakes: make(chan jobs.JobID, 64), events: make(chan event), nudges: make(chan struct{}, 1),
		state: newState(),
	}
	w.offered.Store(&Offer{Slots: o.Slots})
	w.saving, w.endSaving = context.WithCancel(context.Background())
	return w
}

// Wake hints that a job has open units. It never blocks: of a flood of hints some are lost. Those that are not
// make the worker find new jobs at once; a known one that had nothing open is asked for within two minutes.
func (w *Worker) Wake(job jobs.JobID) {
	select {
	case w.wakes <- job:
	default:
	}
}

// Run works until ctx ends. Then units are cancelled, what is finished is journalled and offered once, leases
// go back, and nothing runs any more when it returns: within three seconds, if the Runner ends at once when
// its context does.
func (w *Worker) Run(ctx context.Context) {
	w.loadNotes()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-w.nudges:
		case job := <-w.wakes:
			w.woken(job, time.Now())
		case e := <-w.events:
			e(time.Now())
		}
		w.drain(ctx)
		w.steps.Add(1)
		timer.Reset(w.step(ctx, time.Now()))
	}
	w.stop(ctx)
}

// Steps returns how many steps were made: an idle worker makes few.
func (w *Worker) Steps() int64 { return w.steps.Load() }

// drain takes what has happened meanwhile, so that one step serves it all.
func (w *Worker) drain(ctx context.Context) {
	for {
		select {
		case e := <-w.events:
			e(time.Now())
		case job := <-w.wakes:
			w.woken(job, time.Now())
		default:
			return
		}
		if ctx.Err() != nil {
			return
		}
	}
}

// spawn runs f in a goroutine; the event that it returns runs in the worker's own.
func (w *Worker) spawn(f func() event) {
	w.tasks.Go(func() { w.events <- f() })
}
