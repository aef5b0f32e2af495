package records

import (
	"idlegrid/agent/peer"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

const (
	// timesOver is how often an author may speak of a unit in each attempt: once, and once more where a lease
	// or an answer was lost.
	timesOver = 2
	// spare is what every author may say on top of that, for jobs of few units.
	spare = 1024
	// unitBytes is what a record may have for each unit that it speaks of, failure texts and lineages aside: honest ones
	// have about half.
	unitBytes = 256
	// originBytes is what a lineage has for each of its checkpoints, at most.
	originBytes = 48
)

// account is whose records are counted together: what an agent says of a shard or, under the job's shard 0,
// what the submitter or an operator says of the job, and apart from both what anyone says in words that this version
// does not know. Every author has its own, so that the flood of one never takes the room
// of another's honest records.
type account struct {
	shard  jobs.ShardID
	author jobs.KeyID
	later  bool
}

// charge sets which account a record of the job m counts for, how much it counts, and how much the account
// may hold. The measure is units spoken of, since that is what a ledger takes memory for, or bytes where a
// record has more of them than its units explain: fields that this version does not know are kept, too. A
// manifest is not charged: MaxJobs counts those.
func (a *accepted) charge(m *manifest.Manifest) {
	a.account = account{shard: jobs.ShardID{Job: a.job}, author: m.Submitter}
	a.cost, a.limit = 1, spare+timesOver*m.Units
	size := len(a.Envelope.Payload)
	switch p := a.payload.(type) {
	case *record.Report:
		a.account = account{shard: a.scope().Shard, author: p.Author}
		a.cost, a.limit = 1, spare+timesOver*(uint64(m.Retries)+1)*ledger.TermsOf(a.job, m, p.Shard).Units
		units := uint64(len(p.LostRuns))
		for _, l := range p.LostRuns {
			size -= len(l.Lineage) * originBytes
		}
		for i := range p.Bundles {
			units += uint64(len(p.Bundles[i].Units))
			for _, u := range p.Bundles[i].Units {
				size -= len(u.Failure.Text) + len(u.Lineage)*originBytes
			}
		}
		a.cost = max(a.cost, units) // one without units counts as one
	case *record.Ruling:
		a.cost += uint64(len(p.Units))
	case later:
		a.account.author, a.account.later = a.Envelope.Signatures[0].Signer(), true
		a.limit = spare
	case *record.Cancel:
		a.account.author = a.Envelope.Signatures[0].Signer()
	}
	a.cost = max(a.cost, uint64(max(size, 0))/unitBytes)
}

// reserve counts a record that is about to be kept, or refuses it for want of room.
func (s *Store) reserve(a accepted) error {
	if err := s.roomOfBystander(a); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if used := s.used[a.account]; a.cost > 0 && used+a.cost > a.limit {
		return jobs.Errorf(jobs.Exhausted, "%s has spoken of %d units of %s, and %d more are above its limit of %d",
			a.account.author.Short(), used, a.account.shard, a.cost, a.limit)
	}
	s.count(a)
	return nil
}

// roomOfBystander refuses a report of a shard that this peer neither stewards nor worked for, where it has of its
// author all that one shard may have already: a job may have hundreds of shards, and whoever keeps one of them must
// not be made to keep them all.
func (s *Store) roomOfBystander(a accepted) error {
	r, ok := a.payload.(*record.Report)
	if !ok || r.Author == s.o.Self || s.o.Reader {
		return nil
	}
	s.mu.Lock()
	used := s.usedOfJob[a.account.ofJob()]
	s.mu.Unlock()
	if used+a.cost <= a.limit {
		return nil
	}
	for _, m := range peer.Stewards(a.account.shard, s.o.Members()) {
		if m.ID == s.o.Self {
			return nil
		}
	}
	return jobs.Errorf(jobs.Exhausted, "%s has spoken of %d units of the job here, and %s has other stewards",
		r.Author.Short(), used, a.account.shard)
}

// ofJob is the account of the same author for all shards of the job.
func (a account) ofJob() account {
	a.shard.Shard = 0
	return a
}

// count adds a record to its account; the caller holds the lock or is alone.
func (s *Store) count(a accepted) {
	if a.cost > 0 {
		s.used[a.account] += a.cost
		s.usedOfJob[a.account.ofJob()] += a.cost
	}
}

// release takes a record out of its account again; the caller holds the lock.
func (s *Store) release(a accepted) {
	reduce(s.used, a.account, a.cost)
	reduce(s.usedOfJob, a.account.ofJob(), a.cost)
}

func reduce(used map[account]uint64, a account, by uint64) {
	used[a] -= min(by, used[a])
	if used[a] == 0 {
		delete(used, a)
	}
}
