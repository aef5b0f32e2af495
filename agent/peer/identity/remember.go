package identity

import (
	"crypto/sha256"
	"encoding/binary"
	"sync"

	"idlegrid/jobs"
)

// maxRemembered bounds how many verified chains are remembered, a few hundred bytes each: twice the largest pool, for
// a machine that renews has two. Nobody but the grid's authority can fill it, because only good chains are kept.
const maxRemembered = 2048

// verifiedChains are the chains that were found good. Peers show each other the same ones at every connection, and
// verifying one takes several signatures. Dates and revocations are not part of it: whoever asks looks at those each
// time.
var verifiedChains remembered

// remembered is a bounded map from the name of a chain to what it says. It is safe for concurrent use.
type remembered struct {
	mu     sync.Mutex // guards everything below
	chains map[jobs.Digest]verified
}

// nameOf names a chain under a root by all of their bytes. Each certificate's length goes in front of it, so that
// bytes moved from one to the next give another name.
func nameOf(chain [][]byte, root []byte) jobs.Digest {
	h := sha256.New()
	for _, der := range append([][]byte{root}, chain...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(der))))
		h.Write(der)
	}
	return jobs.Digest(h.Sum(nil))
}

func (r *remembered) get(name jobs.Digest) (verified, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.chains[name]
	return v, ok
}

// put remembers a chain in place of any other, once there are as many as may be: that one is verified again when it
// is next shown.
func (r *remembered) put(name jobs.Digest, v verified) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chains == nil {
		r.chains = make(map[jobs.Digest]verified)
	}
	if len(r.chains) >= maxRemembered {
		for other := range r.chains {
			delete(r.chains, other)
			break
		}
	}
	r.chains[name] = v
}
