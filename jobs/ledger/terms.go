package ledger

import (
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// Skew is how far the clocks of peers that act on time may lie apart.
//
// Expiry has two edges, and this is the place that says which is which. What is read, a unit's status, turns
// dead at Terms.Expires by the reader's clock. What is merged and kept, a peer's records, is taken until
// Skew later: were records refused or deleted at the moment of expiry, a peer whose clock is early would lose
// what others still hold for live.
const Skew = 10 * time.Minute

// Terms are what a ledger must know of its job's manifest.
type Terms struct {
	Job       jobs.JobID
	Submitter jobs.KeyID
	Shard     uint32
	First     uint64 // number of the shard's first unit, a multiple of Bundle
	Units     uint64 // units of the shard
	Bundle    uint32 // units of a bundle, at least 1; the shard's last bundle may have fewer
	Quorum    uint32 // owners who must agree; 0 is 1
	Retries   uint32 // a unit fails for good after one failed attempt more than this
	Created   time.Time
	Expires   time.Time
}

// TermsOf returns the terms of one of a job's shards. A manifest does not know its own ID: that is the digest
// of the bytes it was decoded from, which may hold more than this version understands. A shard that the job
// does not have has no units.
func TermsOf(job jobs.JobID, m *manifest.Manifest, shard uint32) Terms {
	firstBundle, bundles := m.ShardRange(shard)
	t := Terms{
		Job: job, Submitter: m.Submitter, Shard: shard, First: firstBundle * uint64(m.Bundle), Bundle: m.Bundle,
		Quorum: m.Quorum, Retries: m.Retries, Created: m.Created, Expires: m.Expires,
	}
	if bundles > 0 {
		first, n := m.BundleUnits(firstBundle + bundles - 1)
		t.Units = first + n - t.First
	}
	return t
}

// Expired reports whether the job is past its time for whoever reads.
func (t *Terms) Expired(now time.Time) bool { return now.After(t.Expires) }

// Mergeable reports whether a peer still takes and keeps the job's records.
func (t *Terms) Mergeable(now time.Time) bool { return !now.After(t.Expires.Add(Skew)) }

// bundles returns how many bundles the shard has.
func (t *Terms) bundles() uint64 {
	n := t.Units / uint64(t.Bundle)
	if t.Units%uint64(t.Bundle) != 0 {
		n++
	}
	return n
}

// bundleUnits returns the units of the shard's i-th bundle.
func (t *Terms) bundleUnits(i uint64) (first, n uint64) {
	skip := i * uint64(t.Bundle)
	return t.First + skip, min(uint64(t.Bundle), t.Units-skip)
}

// index returns which of the shard's bundles holds a unit.
func (t *Terms) index(unit uint64) (i uint64, ok bool) {
	if unit < t.First || unit-t.First >= t.Units {
		return 0, false
	}
	return (unit - t.First) / uint64(t.Bundle), true
}

// bundleIndex returns which of the shard's bundles has a number.
func (t *Terms) bundleIndex(bundle uint64) (i uint64, ok bool) {
	first := t.First / uint64(t.Bundle)
	if bundle < first || bundle-first >= t.bundles() {
		return 0, false
	}
	return bundle - first, true
}
