package blobs

import (
	"bytes"
	"cmp"
	"strconv"
	"strings"

	"idlegrid/jobs"
)

// Kind is what a blob is to a job, which says how many copies there are and what goes first from a full disk.
type Kind uint8

// The kinds. The first three are those of the protocol.
const (
	Input      Kind = iota // a program or an input, kept here for others
	Pack                   // outcomes, kept here for others
	Checkpoint             // a part of a unit's checkpoint, by its author
	Own                    // this peer's own pack: durable here until the job is sealed or expired
	Cached                 // needed here only; nobody has a receipt for it
)

// Claim is why a blob is kept. It is kept as long as there is one.
type Claim struct {
	Job    jobs.JobID
	Kind   Kind
	Author jobs.AgentID // of a checkpoint
	Unit   uint64       // of a checkpoint
}

// For returns the claim of a job's program or input.
func For(job jobs.JobID) Claim { return Claim{Job: job} }

// covers reports whether the claim does what another would.
func (c Claim) covers(o Claim) bool {
	return c == o || c.Job == o.Job && (o.Kind == Cached || c.Kind == Own && o.Kind == Pack)
}

func (c Claim) compare(o Claim) int {
	return cmp.Or(bytes.Compare(c.Job[:], o.Job[:]), cmp.Compare(c.Kind, o.Kind), c.Author.Compare(o.Author), cmp.Compare(c.Unit, o.Unit))
}

// The ends of refs' names. A ref without any is of an input; those of a checkpoint have its author and unit.
const (
	packSuffix   = ".pack"
	ownSuffix    = ".own"
	cachedSuffix = ".cached"
)

// refName is the file that stands for a claim.
func refName(c Claim, d jobs.Digest) string {
	name := refs + "/" + c.Job.String() + "." + d.String()
	switch c.Kind {
	case Pack:
		return name + packSuffix
	case Own:
		return name + ownSuffix
	case Cached:
		return name + cachedSuffix
	case Checkpoint:
		return name + "." + c.Author.String() + "." + strconv.FormatUint(c.Unit, 10)
	default:
		return name
	}
}

// parseRef reads what refName wrote, without the folder.
func parseRef(name string) (Claim, jobs.Digest, bool) {
	parts := strings.Split(name, ".")
	if len(parts) < 2 {
		return Claim{}, jobs.Digest{}, false
	}
	job, jobErr := jobs.ParseJobID(parts[0])
	d, err := jobs.ParseDigest(parts[1])
	c := Claim{Job: job}
	switch {
	case len(parts) == 4:
		c.Kind = Checkpoint
		var authorErr, unitErr error
		c.Author, authorErr = jobs.ParseKeyID(parts[2])
		c.Unit, unitErr = strconv.ParseUint(parts[3], 10, 64)
		err = cmp.Or(err, authorErr, unitErr)
	case strings.HasSuffix(name, packSuffix):
		c.Kind = Pack
	case strings.HasSuffix(name, ownSuffix):
		c.Kind = Own
	case strings.HasSuffix(name, cachedSuffix):
		c.Kind = Cached
	}
	return c, d, cmp.Or(err, jobErr) == nil && refName(c, d) == refs+"/"+name
}
