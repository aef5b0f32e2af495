package admission

import (
	"context"
	"errors"
	"io"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxPending bounds the jobs whose blobs are being uploaded, in all and of one submitter.
	maxPending            = 1000
	maxPendingBySubmitter = 20
	// pendingLife is how long an upload may take.
	pendingLife = time.Hour
)

// pending is a job whose blobs are on their way.
type pending struct {
	manifest *manifest.Manifest
	since    time.Time
	allowed  map[jobs.Blob]bool // what may be uploaded for it
}

// Submit admits a job, in as many calls as its blobs need: the manifest's own blobs first, then, when the
// list of inputs is here, what it names.
func (s *Service) Submit(ctx context.Context, req *gridv1.SubmitRequest) (*gridv1.SubmitReply, error) {
	who, err := rpc.Allow(ctx, gridv1.Coordinator_Submit_FullMethodName)
	if err != nil {
		return nil, err
	}
	env, err := record.FromProto(req.GetManifest())
	if err != nil {
		return nil, err
	}
	id := jobs.JobID(env.ID())
	if _, err := s.o.Store.Job(id); err == nil {
		return s.admitted(ctx, id, false)
	}
	m, err := s.check(env, who, time.Now())
	if err != nil {
		return nil, err
	}
	if err := s.dropStale(time.Now()); err != nil {
		return nil, err
	}
	p, err := s.expect(id, m)
	if err != nil {
		return nil, err
	}
	missing, err := s.missing(id, p)
	if err != nil || len(missing) > 0 {
		return &gridv1.SubmitReply{Missing: missing}, err
	}
	if err := s.admit(ctx, env, req.GetChain().GetCertificates()); err != nil {
		return nil, err
	}
	s.mu.Lock()
	delete(s.pending, id)
	s.mu.Unlock()
	s.log.Info("admitted", "job", id, "name", m.Name, "submitter", who.ID, "units", m.Units)
	return s.admitted(ctx, id, true)
}

func (s *Service) check(env record.Envelope, who identity.Caller, now time.Time) (*manifest.Manifest, error) {
	if env.Type != record.TypeManifest {
		return nil, jobs.Errorf(jobs.Invalid, "%.80q is no manifest", env.Type)
	}
	if err := env.Verify(who.ID); err != nil {
		return nil, err
	}
	m, err := manifest.Decode(env.Payload)
	if err != nil {
		return nil, err
	}
	if m.Submitter != who.ID {
		return nil, jobs.Errorf(jobs.Denied, "the manifest names submitter %s, the caller is %s", m.Submitter.Short(), who.ID.Short())
	}
	if err := m.Supported(); err != nil {
		return nil, err
	}
	return m, s.o.Config.admit(m, now)
}

// expect notes a job whose blobs may be uploaded from now on.
func (s *Service) expect(id jobs.JobID, m *manifest.Manifest) (*pending, error) {
	live := 0
	for _, j := range s.o.Store.Jobs(true) {
		if j.Manifest.Submitter == m.Submitter {
			live++
		}
	}
	if live >= s.o.Config.MaxJobsPerSubmitter {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Exhausted, "this submitter has %d live jobs, the limit", live),
			"seal or cancel those that are done with, or ask the operator to raise max_jobs_per_submitter in %s", ConfigFile)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pending[id]; p != nil {
		return p, nil
	}
	if len(s.pending) >= maxPending || s.pendingOf(m.Submitter) >= maxPendingBySubmitter {
		return nil, jobs.Errorf(jobs.Exhausted, "%d jobs are being uploaded, try again later", len(s.pending))
	}
	p := &pending{manifest: m, since: time.Now(), allowed: map[jobs.Blob]bool{}}
	s.pending[id] = p
	return p, nil
}

// pendingOf counts a submitter's pending jobs; the caller holds the lock.
func (s *Service) pendingOf(submitter jobs.KeyID) int {
	n := 0
	for _, p := range s.pending {
		if p.manifest.Submitter == submitter {
			n++
		}
	}
	return n
}

// dropStale ends the uploads that take too long.
func (s *Service) dropStale(now time.Time) error {
	var stale []jobs.JobID
	s.mu.Lock()
	for id, p := range s.pending {
		if now.Sub(p.since) > pendingLife {
			stale = append(stale, id)
		}
	}
	s.mu.Unlock()
	return s.drop(stale...)
}

// drop ends uploads and forgets what came.
func (s *Service) drop(ids ...jobs.JobID) error {
	var errs error
	for _, id := range ids {
		s.mu.Lock()
		delete(s.pending, id)
		s.mu.Unlock()
		errs = errors.Join(errs, blobs.Forget(s.o.Blobs, id))
	}
	return errs
}

// missing lists the blobs that are not here for the job, and lets them be uploaded.
func (s *Service) missing(id jobs.JobID, p *pending) ([]*gridv1.Blob, error) {
	want, err := s.named(id, p.manifest)
	if err == nil {
		err = s.fits(want)
	}
	if err != nil {
		return nil, errors.Join(err, s.drop(id))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var missing []*gridv1.Blob
	for b := range want {
		p.allowed[b] = true
		if !s.o.Blobs.Holds(id, b.Digest) {
			missing = append(missing, record.BlobToProto(b))
		}
	}
	return missing, nil
}

// named returns the job's blobs: those of its manifest, and those of its list of inputs once that is here.
func (s *Service) named(id jobs.JobID, m *manifest.Manifest) (map[jobs.Blob]bool, error) {
	all := map[jobs.Blob]bool{}
	for _, b := range m.Blobs() {
		all[b] = true
	}
	if m.Inputs.IsZero() || !s.o.Blobs.Holds(id, m.Inputs.Digest) {
		return all, nil
	}
	inputs, err := s.inputs(m.Inputs)
	for _, i := range inputs {
		all[i.Blob] = true
	}
	return all, err
}

func (s *Service) fits(all map[jobs.Blob]bool) error {
	total := int64(0)
	for b := range all {
		total += b.Size
	}
	if total > s.o.Config.MaxJobMiB<<20 {
		return jobs.WithHint(jobs.Errorf(jobs.Denied, "program and inputs have %d MiB, this grid admits at most %d", (total+1<<20-1)>>20, s.o.Config.MaxJobMiB),
			"the operator sets max_job_mib in the coordinator's %s", ConfigFile)
	}
	return nil
}

func (s *Service) inputs(list jobs.Blob) ([]manifest.Input, error) {
	r, _, err := s.o.Blobs.Open(list.Digest)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	return manifest.DecodeInputs(data)
}

// admit countersigns and keeps the manifest.
func (s *Service) admit(ctx context.Context, env record.Envelope, chain [][]byte) error {
	own := s.o.Identity()
	env.Countersign(own.Key)
	offer := records.Offer{Record: records.Record{Envelope: env}, Chains: [][][]byte{chain, own.Chain}}
	_, refused, err := s.o.Store.Add(ctx, []records.Offer{offer}, false)
	if err == nil && len(refused) > 0 {
		err = jobs.Errorf(jobs.Denied, "%s", refused[0].Reason)
	}
	return err
}

func (s *Service) admitted(ctx context.Context, id jobs.JobID, fresh bool) (*gridv1.SubmitReply, error) {
	seeded := s.o.Seed(ctx, id, fresh)
	o, err := s.o.Store.Get(jobs.Digest(id))
	if err != nil {
		return nil, err
	}
	return &gridv1.SubmitReply{Admitted: o.Envelope.ToProto(), Seeded: uint32(seeded)}, nil
}

// MayRead implements blobs.Policy.
func (s *Service) MayRead(caller identity.Caller, job jobs.JobID) error {
	m, err := s.manifestOf(job)
	if err != nil {
		return err
	}
	if caller.Role == peer.Submitter && caller.ID != m.Submitter {
		return jobs.Errorf(jobs.Denied, "job %s is another submitter's", job.Short())
	}
	return nil
}

// MayWrite implements blobs.Policy: a submitter may upload what its pending job names, and nobody else
// stores anything here.
func (s *Service) MayWrite(caller identity.Caller, c blobs.Claim, b jobs.Blob) error {
	if caller.Role != peer.Submitter || c.Kind != blobs.Input {
		return jobs.Errorf(jobs.Denied, "the coordinator keeps no packs")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[c.Job]
	if p == nil || p.manifest.Submitter != caller.ID {
		return jobs.WithHint(jobs.Errorf(jobs.NotFound, "job %s is not being submitted", c.Job.Short()), "submit it again")
	}
	if !p.allowed[b] {
		return jobs.Errorf(jobs.Denied, "job %s does not name blob %s", c.Job.Short(), b)
	}
	return nil
}

func (s *Service) manifestOf(job jobs.JobID) (*manifest.Manifest, error) {
	s.mu.Lock()
	p := s.pending[job]
	s.mu.Unlock()
	if p != nil {
		return p.manifest, nil
	}
	j, err := s.o.Store.Job(job)
	return j.Manifest, err
}
