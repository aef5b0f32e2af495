package blobs

import "idlegrid/jobs"

// What the tests, which are outside the package because blobstest imports it, need of its inside.
const (
	ChunkSize          = chunkSize
	MaxStall           = maxStall
	MinGrace           = minGrace
	MaxTransfers       = maxTransfers
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

// NewRounds returns the join of rounds that run f.
func NewRounds(f func() error) (join func() error) { return newRounds(f).join }
