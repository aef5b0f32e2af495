package executor

import (
	"time"

	"idlegrid/jobs"
)

// Checkpoint is a unit's state at some moment, from which it can go on in another process, on any machine with the
// same Runtime.
type Checkpoint struct {
	Sequence uint64        // grows with each of a unit, over all its runs
	CPU      time.Duration // that the unit had taken until then, in all its runs
	Files    []CheckpointFile
}

// CheckpointFile is a part of a checkpoint: the first is a whole state, and a second one what changed since.
type CheckpointFile struct {
	Blob jobs.Blob
	Path string // of a file with exactly the blob's bytes
}
