package executor

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
