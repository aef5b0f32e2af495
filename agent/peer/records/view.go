package records

import (
	"bytes"
	"crypto/sha256"
	"maps"
	"slices"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

// Job returns a live job. A job past its time is not found, even before Sweep forgets it.
func (s *Store) Job(id jobs.JobID) (Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j == nil || expired(j.Manifest, s.o.Wall()) {
		return Job{}, jobs.Errorf(jobs.NotFound, "no live job %s is known here", id.Short())
	}
	return j.Job, nil
}

// Runnable returns nil if units of a job may start: it is live here, and neither cancelled nor sealed.
func (s *Store) Runnable(id jobs.JobID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	switch {
	case j == nil || expired(j.Manifest, s.o.Wall()):
		return jobs.Errorf(jobs.NotFound, "no live job %s is known here", id.Short())
	case j.dead:
		return jobs.Errorf(jobs.Expired, "job %s was cancelled", id.Short())
	case j.sealed:
		return jobs.Errorf(jobs.Expired, "job %s is sealed: its submitter has the results", id.Short())
	}
	return nil
}

// Over says how a live job ended before its time.
func (s *Store) Over(id jobs.JobID) (cancelled, sealed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		return j.dead, j.sealed
	}
	return false, false
}

// Jobs returns the live jobs, oldest first. With runnable, only those that are neither cancelled nor sealed.
func (s *Store) Jobs(runnable bool) []Job {
	now := s.o.Wall()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Job
	for _, j := range s.jobs {
		if !expired(j.Manifest, now) && (!runnable || !j.over()) {
			out = append(out, j.Job)
		}
	}
	slices.SortFunc(out, func(a, b Job) int {
		if c := a.Manifest.Created.Compare(b.Manifest.Created); c != 0 {
			return c
		}
		return jobs.Digest(a.ID).Compare(jobs.Digest(b.ID))
	})
	return out
}

// Owner returns the owner in the certificate of an author that is known here; empty: it names none.
func (s *Store) Owner(author jobs.KeyID) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.authors[author].Owner
}

// WithLedger calls f with the shard's ledger. The ledger must not leave f, and f must not block.
func (s *Store) WithLedger(shard jobs.ShardID, f func(*ledger.Ledger)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[shard.Job]
	if j == nil {
		return jobs.Errorf(jobs.NotFound, "no live job %s is known here", shard.Job.Short())
	}
	if shard.Shard >= j.Manifest.Shards() {
		return jobs.Errorf(jobs.Invalid, "job %s has %d shards, no number %d", shard.Job.Short(), j.Manifest.Shards(), shard.Shard)
	}
	f(j.ledger(shard.Shard))
	return nil
}

// OwnShards returns the shards of live jobs that hold at least one record.
func (s *Store) OwnShards() []jobs.ShardID {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []jobs.ShardID
	for scope := range s.scopes {
		if scope.Reports {
			out = append(out, scope.Shard)
		}
	}
	return out
}

// Digest returns the SHA-256 over the sorted IDs of a scope: equal digests mean equal records.
func (s *Store) Digest(scope Scope) jobs.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.scopes[scope]
	if ids == nil {
		return jobs.DigestOf(nil)
	}
	if ids.digest == nil {
		h := sha256.New()
		for _, id := range slices.SortedFunc(maps.Keys(ids.ids), jobs.Digest.Compare) {
			h.Write(id[:])
		}
		d := jobs.Digest(h.Sum(nil))
		ids.digest = &d
	}
	return *ids.digest
}

// IDs returns the IDs of a scope, sorted.
func (s *Store) IDs(scope Scope) []jobs.Digest {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := s.scopes[scope]
	if ids == nil {
		return nil
	}
	return slices.SortedFunc(maps.Keys(ids.ids), jobs.Digest.Compare)
}

// Get returns a record with the chains of its signers, as it is offered to others.
func (s *Store) Get(id jobs.Digest) (Offer, error) {
	s.mu.Lock()
	k, ok := s.index[id]
	s.mu.Unlock()
	if !ok {
		return Offer{}, jobs.Errorf(jobs.NotFound, "no record %s is kept here", id)
	}
	r, err := s.read(k)
	if err != nil {
		return Offer{}, err
	}
	o := Offer{Record: r}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sig := range r.Envelope.Signatures {
		if a, ok := s.authors[sig.Signer()]; ok {
			o.Chains = append(o.Chains, a.chain)
		}
	}
	return o, nil
}

// inKeyOrder sorts IDs by where their records lie, which puts a manifest before what needs it.
func (s *Store) inKeyOrder(ids []jobs.Digest) []jobs.Digest {
	s.mu.Lock()
	keys := make(map[jobs.Digest]key, len(ids))
	for _, id := range ids {
		keys[id] = s.index[id]
	}
	s.mu.Unlock()
	return slices.SortedFunc(slices.Values(ids), func(a, b jobs.Digest) int {
		ka, kb := keys[a], keys[b]
		return bytes.Compare(ka[:], kb[:])
	})
}
