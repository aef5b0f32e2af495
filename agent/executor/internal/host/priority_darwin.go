package host

import "golang.org/x/sys/unix"

const (
	// prioDarwinProcess and prioDarwinBG are PRIO_DARWIN_PROCESS and PRIO_DARWIN_BG of sys/resource.h: the
	// lowest CPU priority and throttled disk and network, for all threads.
	prioDarwinProcess = 4
	prioDarwinBG      = 0x1000
)

// StepBack lowers the priority of this whole process.
func StepBack(p Priority) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, 0, p.nice()); err != nil || p != Idle {
		return err
	}
	return unix.Setpriority(prioDarwinProcess, 0, prioDarwinBG)
}
