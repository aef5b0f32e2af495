package web

import (
	"context"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/coordinator/internal/costs"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// Grid is what the page shows, as the coordinator knows it. Its functions may be called at the same time.
type Grid struct {
	ID   string       // of the grid, for its pages' heads
	Jobs func() []Job // the live ones, the newest first; it must not block
	// Job returns a live job; an error of kind jobs.NotFound says that there is none.
	Job func(jobs.JobID) (Job, error)
	// Details returns what there is to know of a job. It may ask agents.
	Details func(context.Context, jobs.JobID) (*Details, error)
	Members func() []peer.Member
	// Inspect asks an agent how it is, which notes for its owner who looks.
	Inspect func(ctx context.Context, m peer.Member, viewer string) (Machine, error)
	// Harvest returns what was spent in the hours that begin at since or later and before until, on work of those
	// submitters that pass, and what agents offered in them.
	Harvest func(since, until time.Time, pass func(by jobs.KeyID, owner string) bool) (accounts.Harvest, error)
	Costs   costs.Settings // of energy and money, for operators
}

// The states of a job.
const (
	Running    = "running"
	Done       = "done"       // every unit is accepted
	Incomplete = "incomplete" // nothing is open, and not every unit is accepted
	Sealed     = "sealed"
	Cancelled  = "cancelled"
	Unknown    = "unknown" // not all shards have a steward that answered yet
)

// States are all of them, in the order in which people look for them.
func States() []string { return []string{Running, Unknown, Incomplete, Done, Sealed, Cancelled} }

// Job is a live job as its stewards told of it last.
type Job struct {
	ID        jobs.JobID
	Name      string
	Submitter jobs.KeyID
	Owner     string // of the submitter, a person or department; may be empty
	State     string // one of the states above
	Units     uint64
	Open      uint64
	Accepted  uint64
	Failed    uint64
	Conflict  uint64
	Lent      uint64
	Agents    int           // that have units of it now
	CPU       time.Duration // of accepted outcomes
	Rate      float64       // units a second as this coordinator saw them end; 0: not known
	Created   time.Time
	Expires   time.Time
	Waits     string // why it was not handed over to agents yet; empty: it was
}

// Details are what there is to know of one job.
type Details struct {
	Job
	Manifest *manifest.Manifest
	Inputs   []manifest.Input // nil: there are none, or which they are is not known
	Shards   []Shard          // the first few
	Failures []Failure        // the first few
	Problems []string         // what could not be found out
}

// Shard is a part of a job with stewards of its own, as one of them told of it last. Agents have no names here.
type Shard struct {
	Number                 uint32
	Stewards               uint32 // 0: none answered yet
	Open, Accepted, Failed uint64
}

// Failure is a unit that failed, or of which two outcomes have enough reports.
type Failure struct {
	Unit     uint64
	Conflict bool
	Kind     string
	Text     string
	Attempts uint32
	Stderr   string // its beginning; empty: it wrote none, or it is not known
	Missing  string // why it is not known
}

// Machine is what an agent says of itself.
type Machine struct {
	Build           string
	CertificateEnds time.Time
	ClockAhead      time.Duration // of the median of others
	ClockOff        bool
	Blobs           uint64
	BlobBytes       uint64
	Draining        string // why it takes nothing; empty: it does
	Unreachable     string // why nobody can dial it; empty: somebody can
}
