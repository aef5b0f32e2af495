package host

import "golang.org/x/sys/windows"

// StepBack lowers the priority of this whole process. It never enters the background mode, which keeps the
// working set of a process at 32 MiB.
func StepBack(p Priority) error {
	class := uint32(windows.BELOW_NORMAL_PRIORITY_CLASS)
	if p == Idle {
		class = windows.IDLE_PRIORITY_CLASS
	}
	return windows.SetPriorityClass(windows.CurrentProcess(), class)
}
