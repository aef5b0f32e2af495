package blobs

import (
	"path"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// What the tests, which are outside the package because blobstest imports it, need of its inside.
const (
	ChunkSize          = chunkSize
	MaxStall           = maxStall
	MinGrace           = minGrace
	MaxTransfers       = maxTransfers
	MaxCallerTransfers = maxCallerTransfers
	MaxStrikes         = maxStrikes
	MaxReaders         = maxReaders
	LargeBlob          = largeBlob
	StrikeTerm         = strikeTerm
	MaxKeep            = maxKeep
)

// Flip changes one bit of a blob.
func (s *Memory) Flip(d jobs.Digest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[d][0] ^= 1
}

// Ref writes the name of a claim's file and reads it again.
func Ref(c Claim, d jobs.Digest) (Claim, jobs.Digest, bool) {
	return parseRef(path.Base(refName(c, d)))
}

// RefName reads a name and writes it again.
func RefName(name string) (string, bool) {
	c, d, ok := parseRef(name)
	return path.Base(refName(c, d)), ok
}

// Header reads a header and writes it again.
func Header(p *gridv1.PutHeader, author jobs.KeyID) (*gridv1.PutHeader, Claim, error) {
	h, err := headerFromProto(p, author)
	return h.toProto(), h.claim, err
}

// NewRounds returns the join of rounds that run f.
func NewRounds(f func() error) (join func() error) { return newRounds(f).join }
