package executor

import (
	"slices"
	"time"

	"idlegrid/agent/executor/internal/host"
)

// Pids returns the process IDs of the children that run nothing now.
func (p *Pool) Pids() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	var pids []int
	for _, c := range p.idle {
		pids = append(pids, c.cmd.Process.Pid)
	}
	return pids
}

// Free returns how many slots are free.
func (p *Pool) Free() int { return cap(p.slots) - len(p.slots) }

// Usable reports whether all children that run nothing live, as far as the pool knows.
func (p *Pool) Usable() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !slices.ContainsFunc(p.idle, func(c *process) bool { return !c.usable() })
}

// Children returns how many children there are.
func (p *Pool) Children() int { return len(p.pids()) }

func (p *Pool) pids() (pids []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.children {
		pids = append(pids, c.cmd.Process.Pid)
	}
	return pids
}

// CPU returns the CPU time that each child has had.
func (p *Pool) CPU() (all []time.Duration) {
	for _, pid := range p.pids() {
		if cpu, ok := host.CPUOf(pid); ok {
			all = append(all, cpu)
		}
	}
	return all
}

// Memory returns the memory of each child.
func (p *Pool) Memory() (all []uint64) {
	for _, pid := range p.pids() {
		if n, ok := host.MemoryOf(pid); ok {
			all = append(all, n)
		}
	}
	return all
}
