package gridtest

import "sync"

// disk is a machine's disk as far as a test decides about it.
type disk struct {
	mu      sync.Mutex // guards everything below
	err     error      // of each write
	refused int        // writes
}

// Fill lets every write of an agent fail with err, as a disk that is full does; nil empties the disk. What an
// agent reads is not concerned.
func (m *Machine) Fill(err error) {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	m.disk.err = err
}

// Refused returns how many writes failed so far.
func (m *Machine) Refused() int {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	return m.disk.refused
}

func (m *Machine) beforeWrite() error {
	m.disk.mu.Lock()
	defer m.disk.mu.Unlock()
	if m.disk.err != nil {
		m.disk.refused++
	}
	return m.disk.err
}
