package executor

import (
	"time"

	"idlegrid/agent/executor/internal/host"
)

// meterEvery is how often Unit.Used is told.
const meterEvery = 10 * time.Second

// meter tells how much CPU time the child has had, every so often, until the returned function is called. The child
// itself is not asked: it may be blocked. Nothing is told of one that is frozen.
func (p *process) meter(every time.Duration, used func(time.Duration)) (end func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-p.ended:
				return
			case <-ticker.C:
				if cpu, ok := host.CPUOf(p.cmd.Process.Pid); ok && !p.isFrozen() {
					used(cpu)
				}
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
