package blobs

import (
	"bytes"
	"cmp"
	"slices"
	"time"

	"idlegrid/jobs"
)

// CheckpointTerm is for how long a checkpoint is kept after which its author has put no newer one of the unit. It is as
// long as a copy counts on a PC that is off.
const CheckpointTerm = 120 * time.Hour

// Terms say what EvictionOrder may let go of.
type Terms struct {
	Self jobs.AgentID
	// Stays reports whether an input or pack must stay for that claim: placement asks this peer for it.
	Stays func(Claim, jobs.Digest) bool
	// Busy reports whether units of the job run here.
	Busy func(jobs.JobID) bool
	// Queued reports whether units of the job may run here yet.
	Queued func(jobs.JobID) bool
}

// The order in which blobs go from a disk that gets full.
const (
	stays = iota
	cached
	queued
	othersCheckpoint
	ownCheckpoint
)

// class returns when a claim lets its blob go.
func (t Terms) class(c Claim, d jobs.Digest) int {
	switch c.Kind {
	case Own:
		return stays
	case Checkpoint:
		if c.Author == t.Self {
			return ownCheckpoint
		}
		return othersCheckpoint
	case Cached:
		if t.Busy(c.Job) {
			return stays
		}
		return t.spare(c)
	default:
		if t.Busy(c.Job) || t.Stays(c, d) {
			return stays
		}
		return t.spare(c)
	}
}

// spare returns when a copy goes that nobody asks of this peer: those last that units will need here.
func (t Terms) spare(c Claim) int {
	if c.Kind != Pack && t.Queued(c.Job) {
		return queued
	}
	return cached
}

// unitOf is whose checkpoint a claim is part of.
func unitOf(c Claim) Claim {
	return Claim{Job: c.Job, Kind: Checkpoint, Author: c.Author, Unit: c.Unit}
}

// newest returns when the newest part of each checkpoint came.
func newest(list []Entry) map[Claim]time.Time {
	out := map[Claim]time.Time{}
	for _, e := range list {
		for _, h := range e.Claims {
			if h.Kind == Checkpoint && h.Since.After(out[unitOf(h.Claim)]) {
				out[unitOf(h.Claim)] = h.Since
			}
		}
	}
	return out
}

// EvictionOrder returns what may go from a disk that gets full, what goes first in front:
//
//  1. copies that no placement asks of this peer, the one whose last use is longest ago first;
//  2. those among them that are programs and inputs of queued jobs, likewise: they would have to be fetched again;
//  3. checkpoints of others, the unit first whose newest is oldest, since others are more likely to have gone on from it;
//  4. this peer's own checkpoints, likewise: their holders have them.
//
// A blob with several claims goes with the last of them. This peer's own packs, what placement asks it for and what
// runs here is never among them; that no last copy goes is for the caller to see to.
func EvictionOrder(list []Entry, t Terms) []Entry {
	type candidate struct {
		Entry
		class int
		since time.Time
	}
	var all []candidate
	checkpoints := newest(list)
	for _, e := range list {
		c := candidate{Entry: e, class: cached, since: e.Used}
		for _, h := range e.Claims {
			class := t.class(h.Claim, e.Blob.Digest)
			if class == stays {
				c.class = stays
				break
			}
			since := e.Used
			if class > queued {
				since = checkpoints[unitOf(h.Claim)]
			}
			if class > c.class || class == c.class && since.After(c.since) {
				c.class, c.since = class, since
			}
		}
		if c.class != stays {
			all = append(all, c)
		}
	}
	slices.SortFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.class, b.class), a.since.Compare(b.since), bytes.Compare(a.Blob.Digest[:], b.Blob.Digest[:]))
	})
	out := make([]Entry, 0, len(all))
	for _, c := range all {
		out = append(out, c.Entry)
	}
	return out
}

// Abandoned matches the claims of checkpoints that nobody will go on from: the author has put no newer one for long.
func Abandoned(list []Entry, now time.Time) func(jobs.Digest, Claim) bool {
	checkpoints := newest(list)
	return func(_ jobs.Digest, c Claim) bool {
		at, known := checkpoints[unitOf(c)]
		return c.Kind == Checkpoint && known && now.Sub(at) > CheckpointTerm
	}
}
