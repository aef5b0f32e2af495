package blobs

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"time"

	"idlegrid/jobs"
)

// Memory is a Store in memory, for tests and for short-lived programs. It forgets everything when it goes.
type Memory struct {
	*index

	mu   sync.Mutex // guards data, and is held while index and data change together
	data map[jobs.Digest][]byte
}

var _ Store = (*Memory)(nil)

// NewMemory returns an empty store. The quota, in bytes, is for the blobs together; zero means none.
func NewMemory(quota int64) *Memory {
	return &Memory{index: newIndex(quota), data: make(map[jobs.Digest][]byte)}
}

// Put implements Store.
func (s *Memory) Put(c Claim, b jobs.Blob, r io.Reader) error {
	f, err := s.find(c, b)
	if err != nil || f.claimed {
		return err
	}
	if f.job {
		return s.Keep(c, b)
	}
	if err := s.reserve(b.Size); err != nil {
		return err
	}
	var buf bytes.Buffer // grows with what came, not with what was announced
	if err := copyVerified(&buf, b, r); err != nil {
		s.release(b.Size)
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.add(c, b, time.Now()) {
		s.release(b.Size)
		return nil
	}
	s.data[b.Digest] = buf.Bytes()
	return nil
}

// Keep implements Store.
func (s *Memory) Keep(c Claim, b jobs.Blob) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(c, b)
	if err != nil || f.claimed {
		return err
	}
	if !f.here {
		return notHere(b.Digest)
	}
	s.add(c, b, time.Now())
	return nil
}

// Open implements Store.
func (s *Memory) Open(d jobs.Digest) (io.ReadCloser, int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	data, ok := s.data[d]
	if !ok {
		return nil, 0, notHere(d)
	}
	return io.NopCloser(bytes.NewReader(data)), int64(len(data)), nil
}

// Verify implements Store.
func (s *Memory) Verify(d jobs.Digest) error {
	r, size, err := s.Open(d)
	if err != nil {
		return err
	}
	if err := copyVerified(io.Discard, jobs.Blob{Digest: d, Size: size}, r); err != nil {
		return errors.Join(err, s.Delete(d))
	}
	return nil
}

// Delete implements Store.
func (s *Memory) Delete(d jobs.Digest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(d)
	return nil
}

func (s *Memory) remove(d jobs.Digest) {
	s.index.remove(d)
	delete(s.data, d)
}

// Drop implements Store.
func (s *Memory) Drop(match func(jobs.Digest, Claim) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, claims := range s.matching(match) {
		for _, c := range claims {
			if s.isLast(c, d) {
				s.remove(d)
			} else {
				s.drop(c, d)
			}
		}
	}
	return nil
}
