package child

import (
	"fmt"

	"idlegrid/agent/executor/internal/host"

	"github.com/tetratelabs/wazero/experimental"
)

const (
	wasmPage  = 64 << 10
	maxMemory = 4 << 30 // all that a 32-bit module can address
	// clearAtMost is how much of a guest's memory is cleared after a unit; more is given back to the system,
	// which hands out zeros again.
	clearAtMost = 512 << 10
)

// memory is the linear memory of one guest after the other. Its address space is reserved once, up to the
// limit, so that growing copies nothing; what a guest used is zero again for the next.
type memory struct {
	limit     uint64 // bytes, whole pages
	reserved  []byte
	committed uint64
	used      uint64
	refused   uint64 // the first size above the limit that the guest asked for
	running   bool
}

// overMinimum is what Reallocate panics with when a guest needs more than the limit to start at all: wazero
// has no other way out there.
type overMinimum struct{}

func newMemory(limit uint64) *memory {
	return &memory{limit: min(limit, maxMemory) &^ (wasmPage - 1)}
}

// Allocate starts the memory of a guest. A module has one memory at most.
func (m *memory) Allocate(_, _ uint64) experimental.LinearMemory {
	m.running = false
	return m
}

// Reallocate grows the memory, or returns nil if the limit forbids it.
func (m *memory) Reallocate(size uint64) []byte {
	if !m.grow(size) {
		if !m.running {
			panic(overMinimum{})
		}
		return nil
	}
	m.running = true
	m.used = size
	return m.reserved[:size:size]
}

func (m *memory) grow(size uint64) bool {
	if size > m.limit {
		if m.refused == 0 {
			m.refused = size
		}
		return false
	}
	if m.reserved == nil && m.limit > 0 {
		region, err := host.Reserve(int(m.limit))
		if err != nil {
			fail(fmt.Errorf("reserve %d bytes for a guest: %w", m.limit, err))
		}
		m.reserved = region
	}
	if size > m.committed {
		if err := host.Commit(m.reserved[m.committed:size]); err != nil {
			fail(fmt.Errorf("take %d bytes for a guest: %w", size, err))
		}
		m.committed = size
	}
	return true
}

// Free does nothing: wazero calls it while a guest is still on the stack. See reset.
func (m *memory) Free() {}

// reset makes the memory zero for the next guest. The last one has ended.
func (m *memory) reset() {
	if m.used <= clearAtMost {
		clear(m.reserved[:m.used])
	} else {
		if err := host.Release(m.reserved); err != nil {
			fail(fmt.Errorf("give back a guest's memory: %w", err))
		}
		m.reserved, m.committed = nil, 0
	}
	m.used, m.refused = 0, 0
}
