package admission

import (
	"context"
	"errors"
	"io"
	"time"

	"idlegrid/agent/peer"
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
		return s.admitted(ctx, id)
	}
	m, err := s.check(env, who, time.Now())
	if err != nil {
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
	return s.admitted(ctx, id)
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
			"wait until some have expired, or ask the operator to raise max_jobs_per_submitter in %s", ConfigFile)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.pending[id]; p != nil {
		return p, nil
	}
	mine := 0
	for other, p := range s.pending {
		if time.Since(p.since) > pendingLife {
			delete(s.pending, other)
		} else if p.manifest.Submitter == m.Submitter {
			mine++
		}
	}
	if mine >= maxPendingBySubmitter || len(s.pending) >= maxPending {
		return nil, jobs.Errorf(jobs.Exhausted, "%d jobs are being uploaded, try again later", len(s.pending))
	}
	p := &pending{manifest: m, since: time.Now(), allowed: map[jobs.Blob]bool{}}
	for _, b := range m.Blobs() {
		p.allowed[b] = true
	}
	s.pending[id] = p
	return p, nil
}

// missing lists the blobs that are not here for the job.
func (s *Service) missing(id jobs.JobID, p *pending) ([]*gridv1.Blob, error) {
	want := p.manifest.Blobs()
	if in := p.manifest.Inputs; !in.IsZero() && s.o.Blobs.Holds(id, in.Digest) {
		inputs, err := s.inputs(in)
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		for _, i := range inputs {
			want = append(want, i.Blob)
			p.allowed[i.Blob] = true
		}
		s.mu.Unlock()
	}
	var missing []*gridv1.Blob
	seen := map[jobs.Blob]bool{}
	total := int64(0)
	for _, b := range want {
		if seen[b] {
			continue
		}
		seen[b] = true
		total += b.Size
		if !s.o.Blobs.Holds(id, b.Digest) {
			missing = append(missing, record.BlobToProto(b))
		}
	}
	if most := s.o.Config.MaxJobMiB << 20; total > most {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Denied, "program and inputs have %d MiB, this grid admits at most %d", (total+1<<20-1)>>20, s.o.Config.MaxJobMiB),
			"the operator sets max_job_mib in the coordinator's %s", ConfigFile)
	}
	return missing, nil
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

func (s *Service) admitted(ctx context.Context, id jobs.JobID) (*gridv1.SubmitReply, error) {
	seeded := s.o.Seed(ctx, id)
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
func (s *Service) MayWrite(caller identity.Caller, job jobs.JobID, b jobs.Blob) error {
	if caller.Role != peer.Submitter {
		return jobs.Errorf(jobs.Denied, "the coordinator keeps no packs")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pending[job]
	if p == nil || p.manifest.Submitter != caller.ID {
		return jobs.WithHint(jobs.Errorf(jobs.NotFound, "job %s is not being submitted", job.Short()), "submit it again")
	}
	if !p.allowed[b] {
		return jobs.Errorf(jobs.Denied, "job %s does not name blob %s", job.Short(), b)
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
