package blobs

import "idlegrid/jobs"

// What the tests, which are outside the package because blobstest imports it, need of its inside.
const (
	ChunkSize          = chunkSize
	MaxStall           = maxStall
	MinGrace           = minGrace
	MaxCallerTransfers = maxCallerTransfers
	MaxStrikes         = maxStrikes
	StrikeTerm         = strikeTerm
)

// Flip changes one bit of a blob.
func (s *Memory) Flip(d jobs.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[d][0] ^= 1
}
