package executor

import "slices"

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
