//go:build unix && !linux && !darwin

package host

import "golang.org/x/sys/unix"

// StepBack lowers the priority of this whole process. There is nothing lower than nice here.
func StepBack(p Priority) error { return unix.Setpriority(unix.PRIO_PROCESS, 0, p.nice()) }
