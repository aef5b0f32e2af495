package records

import (
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
	// unitBytes is what a record may have for each unit that it speaks of, failure texts aside: honest ones
	// have about half.
	unitBytes = 256
)

// account is whose records are counted together: what an agent says of a shard or, under the job's shard 0,
// what the submitter or an operator says of the job. Every author has its own, so that the flood of one never takes the room
// of another's honest records.
type account struct {
	shard  jobs.ShardID
	author jobs.KeyID
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
		a.cost, a.limit = 0, spare+timesOver*(uint64(m.Retries)+1)*ledger.TermsOf(a.job, m, p.Shard).Units
		for i := range p.Bundles {
			a.cost += uint64(len(p.Bundles[i].Units))
			for _, u := range p.Bundles[i].Units {
				size -= len(u.Failure.Text)
			}
		}
	case *record.Ruling:
		a.cost += uint64(len(p.Units))
	case *record.Cancel:
		a.account.author = a.Envelope.Signatures[0].Signer()
	}
	a.cost = max(a.cost, uint64(max(size, 0))/unitBytes)
}

// reserve counts a record that is about to be kept, or refuses it for want of room.
func (s *Store) reserve(a accepted) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if used := s.used[a.account]; a.cost > 0 && used+a.cost > a.limit {
		return jobs.Errorf(jobs.Exhausted, "%s has spoken of %d units of %s, and %d more are above its limit of %d",
			a.account.author.Short(), used, a.account.shard, a.cost, a.limit)
	}
	s.count(a)
	return nil
}

// count adds a record to its account; the caller holds the lock or is alone.
func (s *Store) count(a accepted) {
	if a.cost > 0 {
		s.used[a.account] += a.cost
	}
}

// release takes a record out of its account again; the caller holds the lock.
func (s *Store) release(a accepted) {
	s.used[a.account] -= min(a.cost, s.used[a.account])
	if s.used[a.account] == 0 {
		delete(s.used, a.account)
	}
}
