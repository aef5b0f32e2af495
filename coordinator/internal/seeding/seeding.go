// Package seeding hands admitted jobs to the pool: the manifest and the blobs to their holders, then the
// word to the stewards that lending may begin. After that the coordinator is out of the way.
//
// A job that cannot be handed over yet, because no agent is here, is tried again until it can. A restart of
// the coordinator hands all live jobs over again, as if they were known: what is there already costs one
// question.
package seeding

import (
	"context"
	"errors"
	"io"
	"log/slog"
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
)

// Options say what a Seeder needs.
type Options struct {
	Store     *records.Store
	Blobs     blobs.Store
	Replicate func(ctx context.Context, job jobs.JobID, b jobs.Blob, to []peer.Member, need int) ([]record.Envelope, error)
	Dial      func(address string, id jobs.AgentID) (grpc.ClientConnInterface, error)
	Members   func() []peer.Member
	Log       *slog.Logger
}

// Seeder hands jobs over.
type Seeder struct {
	o   Options
	log *slog.Logger

	one sync.Mutex         // held while a job is handed over: one at a time, so that uploads do not compete
	mu  sync.Mutex         // guards everything below
	to  map[jobs.JobID]int // agents that a job was handed to
}

// New returns a seeder that has handed nothing over.
func New(o Options) *Seeder {
	return &Seeder{o: o, log: o.Log.With("component", "seeding"), to: map[jobs.JobID]int{}}
}

// Run retries what could not be handed over, until ctx ends. Jobs that were live when it starts are not new
// to the grid.
func (s *Seeder) Run(ctx context.Context) {
	known := map[jobs.JobID]bool{}
	for _, j := range s.o.Store.Jobs(true) {
		known[j.ID] = true
	}
	ticker := time.NewTicker(retryEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, j := range s.o.Store.Jobs(true) {
				s.seed(ctx, j, !known[j.ID])
			}
		}
	}
}

// Seed hands a job that was just admitted over and returns to how many agents: 0 when it must be tried again,
// which Run does.
func (s *Seeder) Seed(ctx context.Context, id jobs.JobID) int {
	job, err := s.o.Store.Job(id)
	if err != nil {
		return 0
	}
	return s.seed(ctx, job, true)
}

func (s *Seeder) seed(ctx context.Context, job records.Job, fresh bool) int {
	s.one.Lock()
	defer s.one.Unlock()
	s.mu.Lock()
	n := s.to[job.ID]
	s.mu.Unlock()
	if n > 0 {
		return n
	}
	n, err := s.handOver(ctx, job, fresh)
	if err != nil {
		s.log.Info("cannot hand a job over yet", "job", job.ID, "err", err)
		return 0
	}
	if n > 0 {
		s.log.Info("handed over", "job", job.ID, "agents", n)
		s.mu.Lock()
		s.to[job.ID] = n
		s.mu.Unlock()
	}
	return n
}

func (s *Seeder) handOver(ctx context.Context, job records.Job, fresh bool) (int, error) {
	members := s.o.Members()
	if !slices.ContainsFunc(members, peer.Member.Eligible) {
		return 0, nil
	}
	all, err := s.blobsOf(job)
	if err != nil {
		return 0, err
	}
	var stewards, targets []peer.Member
	for shard := range job.Manifest.Shards() {
		stewards = appendNew(stewards, peer.Stewards(jobs.ShardID{Job: job.ID, Shard: shard}, members))
	}
	targets = appendNew(targets, stewards)
	for _, b := range all {
		targets = appendNew(targets, peer.Holders(b.Digest, members, peer.Copies))
	}
	if _, err := s.push(ctx, job, targets, false); err != nil {
		return 0, err
	}
	need := peer.Needed(members)
	for _, b := range all {
		if _, err := s.o.Replicate(ctx, job.ID, b, peer.Holders(b.Digest, members, peer.Copies), need); err != nil {
			return 0, err
		}
	}
	return s.push(ctx, job, stewards, fresh)
}

// blobsOf lists all blobs of a job, the files of its input list included.
func (s *Seeder) blobsOf(job records.Job) ([]jobs.Blob, error) {
	all := job.Manifest.Blobs()
	in := job.Manifest.Inputs
	if in.IsZero() {
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
