package record

import (
	"time"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Checkpoint is what an agent says of a unit that it runs: where it can go on from. Who says so is who signed it,
// and nobody else may have signed it with them.
type Checkpoint struct {
	Job      jobs.JobID
	Unit     uint64
	Attempt  uint32
	Sequence uint64        // grows with each checkpoint of the unit, over all its runs
	CPU      time.Duration // that the unit had taken, in all its runs
	Runtime  string        // only an equal one can go on from it
	Parts    []jobs.Blob   // the whole state, and what changed since
	Lineage  Lineage       // of the run that made it
}

// Check returns an error if the checkpoint is beyond a bound, and thus would be refused by its readers.
func (c *Checkpoint) Check() error {
	switch {
	case c.Job.IsZero():
		return jobs.Errorf(jobs.Invalid, "checkpoint: without a job")
	case c.Attempt > MaxAttempt || c.Sequence > MaxSequence:
		return jobs.Errorf(jobs.Invalid, "checkpoint: attempt %d and sequence %d, expected at most %d and %d",
			c.Attempt, c.Sequence, MaxAttempt, uint64(MaxSequence))
	case c.CPU < 0 || c.CPU > MaxUnitMicros*time.Microsecond:
		return jobs.Errorf(jobs.Invalid, "checkpoint: %s of CPU, expected at most %s", c.CPU, MaxUnitMicros*time.Microsecond)
	case !isName(c.Runtime):
		return jobs.Errorf(jobs.Invalid, "checkpoint: runtime %.80q, expected 1 to %d bytes of UTF-8", c.Runtime, MaxName)
	case len(c.Parts) == 0 || len(c.Parts) > MaxCheckpointParts:
		return jobs.Errorf(jobs.Invalid, "checkpoint: %d parts, expected 1 to %d", len(c.Parts), MaxCheckpointParts)
	}
	for _, b := range c.Parts {
		if b.Digest.IsZero() || b.Size < 0 || b.Size > MaxCheckpointBytes {
			return jobs.Errorf(jobs.Invalid, "checkpoint: part of %d bytes, expected at most %d", b.Size, int64(MaxCheckpointBytes))
		}
	}
	return c.Lineage.check()
}

// Encode returns the payload of a checkpoint that Check finds nothing wrong with.
func (c *Checkpoint) Encode() []byte {
	p := &gridv1.Checkpoint{
		Job: c.Job[:], Unit: c.Unit, Attempt: c.Attempt, Sequence: c.Sequence,
		CpuUs: uint64(c.CPU.Microseconds()), Runtime: c.Runtime, Lineage: c.Lineage.proto(),
	}
	for _, b := range c.Parts {
		p.Parts = append(p.Parts, BlobToProto(b))
	}
	return marshal(p)
}

// DecodeCheckpoint reads a checkpoint's payload.
func DecodeCheckpoint(b []byte) (*Checkpoint, error) {
	var p gridv1.Checkpoint
	if err := unmarshal("checkpoint", b, &p, MaxCheckpoint); err != nil {
		return nil, err
	}
	job, err := decodeJob("checkpoint", p.GetJob())
	if err != nil {
		return nil, err
	}
	if p.GetCpuUs() > MaxUnitMicros {
		return nil, jobs.Errorf(jobs.Invalid, "checkpoint: %d µs of CPU, expected at most %d", p.GetCpuUs(), uint64(MaxUnitMicros))
	}
	c := &Checkpoint{
		Job: job, Unit: p.GetUnit(), Attempt: p.GetAttempt(), Sequence: p.GetSequence(),
		CPU: time.Duration(p.GetCpuUs()) * time.Microsecond, Runtime: p.GetRuntime(),
	}
	if c.Lineage, err = lineageFromProto(p.GetLineage()); err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "checkpoint: %w", err)
	}
	for _, part := range p.GetParts() {
		blob, err := BlobFromProto(part)
		if err != nil {
			return nil, jobs.Errorf(jobs.Invalid, "checkpoint: %w", err)
		}
		c.Parts = append(c.Parts, blob)
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	return c, nil
}
