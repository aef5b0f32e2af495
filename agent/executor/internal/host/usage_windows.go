package host

import (
	"time"

	"golang.org/x/sys/windows"
)

// CPUOf returns the CPU time that a process has used, and whether the system says so.
func CPUOf(pid int) (time.Duration, bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return 0, false // it has ended
	}
	defer windows.CloseHandle(h) // Nothing is written.
	var created, exited, kernel, user windows.Filetime
	err = windows.GetProcessTimes(h, &created, &exited, &kernel, &user)
	return span(kernel) + span(user), err == nil
}
