// Package seeding hands admitted jobs to the pool: the manifest and the blobs to their holders, then the
// word to the stewards that lending may begin. After that the coordinator is out of the way.
//
// A job that cannot be handed over yet, because no agent is here, is tried again until it can or has ended. A restart of
// the coordinator hands all live jobs over again, as if they were known: what is there already costs one
// question.
package seeding

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

const (
	retryEvery  = 2 * time.Second
	pushTimeout = 10 * time.Second
	// parallel is how many jobs are handed over at the same time: a large one does not hold up the others.
	parallel = 4
)

// Options say what a Seeder needs.
type Options struct {
	Store *records.Store
	Blobs blobs.Store
	// Place stores a blob at the members that should hold it.
	Place   func(ctx context.Context, claim blobs.Claim, b jobs.Blob, members []peer.Member) ([]record.Envelope, error)
	Dial    func(address string, id jobs.AgentID) (grpc.ClientConnInterface, error)
	Members func() []peer.Member
	Log     *slog.Logger
}

// Seeder hands jobs over.
type Seeder struct {
	o     Options
	log   *slog.Logger
	slots chan struct{} // one for each job that is being handed over

	mu    sync.Mutex               // guards everything below
	state map[jobs.JobID]*handOver // of live jobs
}

// handOver is how far a job is.
type handOver struct {
	fresh  bool // admitted by this run of the coordinator: nobody else can have lent its units
	busy   bool
	stop   context.CancelCauseFunc // while it is busy
	agents int                     // that it was handed to; 0: not yet
	waits  int                     // blobs that had no holders yet in the last attempt
	why    error                   // what kept the last attempt from its end
}

// errNobody is why a job waits that nobody can take.
var errNobody = errors.New("no agent is here that can be reached")

// Progress is how far the hand-over of a job is.
type Progress struct {
	Agents int   // that it was handed to; 0: not yet
	Waits  int   // blobs that have too few holders still
	Why    error // what kept the last attempt from its end; nil: it is under way, or done
}

// Progress returns how far the hand-over of a job is.
func (s *Seeder) Progress(id jobs.JobID) Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.state[id]
	if h == nil {
		return Progress{}
	}
	return Progress{Agents: h.agents, Waits: h.waits, Why: h.why}
}

// errEnded is the cause with which a hand-over stops whose job was cancelled or sealed.
var errEnded = errors.New("the job has ended")

// New returns a seeder that has handed nothing over.
func New(o Options) *Seeder {
	return &Seeder{
		o: o, log: o.Log.With("component", "seeding"),
		slots: make(chan struct{}, parallel), state: map[jobs.JobID]*handOver{},
	}
}

// Run hands over what is not yet, until ctx ends: jobs that could not be, and those that were live before the
// coordinator started, which are not new to the grid.
func (s *Seeder) Run(ctx context.Context) {
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	var work sync.WaitGroup
	defer work.Wait()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		live := s.o.Store.Jobs(true)
		s.forget(live)
		for _, j := range live {
			if s.waiting(j.ID) {
				work.Go(func() { s.seed(ctx, j, false) })
			}
		}
	}
}

// Seed hands a job over and returns to how many agents: 0 when it must be tried again, which Run does. Fresh
// says that the job was admitted just now.
func (s *Seeder) Seed(ctx context.Context, id jobs.JobID, fresh bool) int {
	job, err := s.o.Store.Job(id)
	if err != nil {
		return 0
	}
	return s.seed(ctx, job, fresh)
}

// Ended stops the hand-over of a job that was cancelled or sealed; no other begins. It does not wait.
func (s *Seeder) Ended(id jobs.JobID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if h := s.state[id]; h != nil && h.busy {
		h.stop(errEnded)
	}
}

func (s *Seeder) seed(ctx context.Context, job records.Job, fresh bool) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h, agents := s.begin(job.ID, &fresh, cancel)
	if h == nil {
		return agents
	}
	waits := 0
	err := s.o.Store.Runnable(job.ID) // who ends it from here on finds it busy
	if err != nil {
		cancel(err)
	}
	select {
	case s.slots <- struct{}{}:
		agents, waits, err = s.handOver(ctx, job, fresh)
		<-s.slots
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	h.busy, h.waits, h.why = false, waits, err
	if errors.Is(err, errNobody) {
		return 0 // nothing to tell of, every two seconds
	}
	if err != nil {
		s.log.Info("cannot hand a job over yet", "job", job.ID, "err", err)
		return 0
	}
	if h.agents = agents; agents > 0 {
		s.log.Info("handed over", "job", job.ID, "agents", agents)
	}
	return agents
}

// waiting reports whether a job is to be handed over now. Most were long ago.
func (s *Seeder) waiting(id jobs.JobID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.state[id]
	return h == nil || h.waiting()
}

func (h *handOver) waiting() bool { return !h.busy && h.agents == 0 }

// begin returns the job's state if it is to be handed over now, else to how many agents it was. It keeps in mind
// that a job is fresh, and says so the next time.
func (s *Seeder) begin(id jobs.JobID, fresh *bool, stop context.CancelCauseFunc) (*handOver, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.state[id]
	if h == nil {
		h = &handOver{}
		s.state[id] = h
	}
	h.fresh = h.fresh || *fresh
	*fresh = h.fresh
	if !h.waiting() {
		return nil, h.agents
	}
	h.busy, h.stop = true, stop
	return h, 0
}

// forget drops what is known of jobs that have ended.
func (s *Seeder) forget(live []records.Job) {
	lives := make(map[jobs.JobID]bool, len(live))
	for _, j := range live {
		lives[j.ID] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.state, func(id jobs.JobID, h *handOver) bool { return !h.busy && !lives[id] })
}

// handOver returns to how many agents the job went, and how many of its blobs have too few holders still.
func (s *Seeder) handOver(ctx context.Context, job records.Job, fresh bool) (agents, waits int, err error) {
	if ctx.Err() != nil {
		return 0, 0, context.Cause(ctx)
	}
	all, err := s.blobsOf(job, fresh)
	if err != nil {
		return 0, 0, err
	}
	members := s.o.Members()
	if !slices.ContainsFunc(members, peer.Member.Eligible) {
		return 0, len(all), errNobody
	}
	var stewards, targets []peer.Member
	for shard := range job.Manifest.Shards() {
		stewards = appendNew(stewards, peer.Stewards(jobs.ShardID{Job: job.ID, Shard: shard}, members))
	}
	targets = appendNew(targets, stewards)
	for _, b := range all {
		targets = appendNew(targets, peer.Holders(b.Digest, members, 2*peer.Copies))
	}
	if _, err := s.push(ctx, job, targets, false); err != nil {
		return 0, len(all), err
	}
	for i, b := range all {
		if _, err := s.o.Place(ctx, blobs.For(job.ID), b, members); err != nil {
			return 0, len(all) - i, err
		}
		if ctx.Err() != nil {
			return 0, len(all) - i, context.Cause(ctx)
		}
	}
	agents, err = s.push(ctx, job, stewards, fresh)
	return agents, 0, err
}

// blobsOf lists the blobs of a job that are to be handed over, the files of its input list included: all, or those
// that are here, where this coordinator has lost its disk and knows the job from the pool, which has its blobs.
func (s *Seeder) blobsOf(job records.Job, fresh bool) ([]jobs.Blob, error) {
	all, err := s.named(job, fresh)
	if fresh {
		return all, err
	}
	return slices.DeleteFunc(all, func(b jobs.Blob) bool { return !s.o.Blobs.Holds(job.ID, b.Digest) }), err
}

func (s *Seeder) named(job records.Job, fresh bool) ([]jobs.Blob, error) {
	all := job.Manifest.Blobs()
	in := job.Manifest.Inputs
	if in.IsZero() || !fresh && !s.o.Blobs.Holds(job.ID, in.Digest) {
		return all, nil
	}
	r, _, err := s.o.Blobs.Open(in.Digest)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	inputs, err := manifest.DecodeInputs(data)
	for _, i := range inputs {
		if !slices.Contains(all, i.Blob) {
			all = append(all, i.Blob)
		}
	}
	return all, err
}

// push gives the manifest to agents and returns how many have it; one is enough, the others hear of it from
// each other.
func (s *Seeder) push(ctx context.Context, job records.Job, to []peer.Member, fresh bool) (int, error) {
	offer, err := s.o.Store.Get(jobs.Digest(job.ID))
	if err != nil {
		return 0, err
	}
	errs := make(chan error, len(to))
	for _, m := range to {
		go func() { errs <- s.pushTo(ctx, m, offer, fresh) }()
	}
	n := 0
	var failed error
	for range to {
		if err := <-errs; err != nil {
			failed = errors.Join(failed, err)
		} else {
			n++
		}
	}
	if n > 0 {
		return n, nil
	}
	return 0, failed
}

func (s *Seeder) pushTo(ctx context.Context, m peer.Member, offer records.Offer, fresh bool) error {
	ctx, cancel := context.WithTimeout(ctx, pushTimeout)
	defer cancel()
	conn, err := s.o.Dial(m.Address, m.ID)
	if err != nil {
		return err
	}
	refused, err := records.Push(ctx, conn, []records.Offer{offer}, fresh)
	if err == nil && len(refused) > 0 {
		err = jobs.Errorf(jobs.Denied, "agent %s refuses the manifest: %s", m.ID.Short(), refused[0].Reason)
	}
	return err
}

// appendNew appends the members that are not there yet.
func appendNew(list, more []peer.Member) []peer.Member {
	for _, m := range more {
		if !slices.ContainsFunc(list, func(o peer.Member) bool { return o.ID == m.ID }) {
			list = append(list, m)
		}
	}
	return list
}
