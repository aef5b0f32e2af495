package blobs

import (
	"idlegrid/jobs"
)

const (
	// Of a store's quota the checkpoints of one author may take a quarter, and those of the jobs of one submitter, by all
	// others together, a half. Whoever puts more is refused, and asks other holders.
	authorShare, submitterShare = 4, 2
	// minCounted is what a checkpoint's part counts for at least in a share: small ones take files and memory.
	minCounted = 64 << 10
)

// Shares say whose checkpoints are whose.
type Shares struct {
	Self      jobs.AgentID                               // whose own are not counted: what runs here bounds them
	Submitter func(jobs.JobID) (who jobs.KeyID, ok bool) // who pays for a job, if that is known
}

// taken is what checkpoints take of a store, by whom they are and for which job.
type taken map[Claim]int64

func sharedBy(c Claim) Claim { return Claim{Job: c.Job, Kind: Checkpoint, Author: c.Author} }

// admit sets a part of a checkpoint's share aside while it is on its way in, and refuses it where the share is used up.
// It returns the function to call when the part is here, and counts as such, or does not come.
func (x *index) admit(s Shares, c Claim, size int64) (arrived func(), err error) {
	if x.quota.Load() == 0 || c.Kind != Checkpoint || c.Author == s.Self {
		return func() {}, nil
	}
	size = max(size, minCounted)
	all := x.expect(s, c, size)
	if err := x.withinShares(s, c, all); err != nil {
		x.expected(c, size)
		return nil, err
	}
	return func() { x.expected(c, size) }, nil
}

// expect counts a part as on its way in, and returns what all others' checkpoints take with it.
func (x *index) expect(s Shares, c Claim, size int64) taken {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.coming[sharedBy(c)] += size
	all := taken{}
	for by, bytes := range x.coming {
		all[by] += bytes
	}
	for _, e := range x.blobs {
		for _, h := range e.claims {
			if h.Kind == Checkpoint && h.Author != s.Self {
				all[sharedBy(h.Claim)] += max(e.size, minCounted)
			}
		}
	}
	return all
}

func (x *index) expected(c Claim, size int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	by := sharedBy(c)
	if x.coming[by] -= size; x.coming[by] == 0 {
		delete(x.coming, by)
	}
}

// withinShares refuses what is more than the author's share, or the submitter's.
func (x *index) withinShares(s Shares, c Claim, all taken) error {
	submitter, known := jobs.KeyID{}, false
	if s.Submitter != nil {
		submitter, known = s.Submitter(c.Job)
	}
	var author, paid int64
	same := map[jobs.JobID]bool{c.Job: true} // jobs, whether they are the submitter's
	for by, bytes := range all {
		if by.Author == c.Author {
			author += bytes
		}
		if !known {
			continue
		}
		if _, looked := same[by.Job]; !looked {
			who, ok := s.Submitter(by.Job)
			same[by.Job] = ok && who == submitter
		}
		if same[by.Job] {
			paid += bytes
		}
	}
	quota := x.quota.Load()
	if quota == 0 {
		return nil // it was lifted just now
	}
	if most := quota / authorShare; author > most {
		return shareUsed("checkpoints of agent "+c.Author.Short(), author, most)
	}
	if most := quota / submitterShare; paid > most {
		return shareUsed("checkpoints for submitter "+submitter.Short(), paid, most)
	}
	return nil
}

func shareUsed(what string, bytes, most int64) error {
	err := jobs.Errorf(jobs.Exhausted, "with this %s would take %d bytes here, at most %d are for them", what, bytes, most)
	return jobs.WithHint(err, "Other holders are asked; with a larger quota this peer takes more.")
}
