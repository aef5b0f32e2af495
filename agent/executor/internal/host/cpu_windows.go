package host

import (
	"time"

	"golang.org/x/sys/windows"
)

// CPUTime returns the CPU time that this process has used, in user and kernel mode.
func CPUTime() time.Duration {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &exited, &kernel, &user); err != nil {
		return 0 // the call fails for bad arguments only
	}
	return span(kernel) + span(user)
}

// span returns a length of time that Windows counts in steps of 100 ns.
func span(t windows.Filetime) time.Duration {
	return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
}
