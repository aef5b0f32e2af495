package host

import (
	"time"
	"unsafe"

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

// memoryCounters is PROCESS_MEMORY_COUNTERS of psapi.h.
type memoryCounters struct {
	size, faults                                                                      uint32
	peakWorkingSet, workingSet, peakPaged, paged, peakNonPaged, nonPaged, pages, peak uintptr
}

// MemoryOf returns the bytes of memory that a process has and that are not paged out, and whether the system says so.
func MemoryOf(pid int) (uint64, bool) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|windows.PROCESS_VM_READ, false, uint32(pid))
	if err != nil {
		return 0, false // it has ended
	}
	defer windows.CloseHandle(h) // Nothing is written.
	c := memoryCounters{size: uint32(unsafe.Sizeof(memoryCounters{}))}
	info := windows.NewLazySystemDLL("kernel32.dll").NewProc("K32GetProcessMemoryInfo")
	ok, _, _ := info.Call(uintptr(h), uintptr(unsafe.Pointer(&c)), uintptr(c.size))
	return uint64(c.workingSet), ok != 0
}
