package host

import "golang.org/x/sys/windows"

// StepBack lowers the priority of this whole process. It never enters the background mode, which keeps the
// working set of a process at 32 MiB.
func StepBack(p Priority) error {
	return windows.SetPriorityClass(windows.CurrentProcess(), priorityClass(p))
}

func priorityClass(p Priority) uint32 {
	if p == Idle {
		return windows.IDLE_PRIORITY_CLASS
	}
	return windows.BELOW_NORMAL_PRIORITY_CLASS
}
