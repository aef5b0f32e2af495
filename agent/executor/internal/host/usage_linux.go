package host

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

const (
	// clockTick is what Linux counts CPU time in for others to read, on every processor that Go knows.
	clockTick = 10 * time.Millisecond
	// fieldUser and fieldSystem are where it stands, counted from behind the program's name: see proc(5).
	fieldUser   = 11
	fieldSystem = 12
)

// CPUOf returns the CPU time that a process has used, and whether the system says so.
func CPUOf(pid int) (time.Duration, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false // it has ended
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= fieldSystem {
		return 0, false
	}
	user, err := strconv.ParseInt(string(fields[fieldUser]), 10, 64)
	if err != nil {
		return 0, false
	}
	system, err := strconv.ParseInt(string(fields[fieldSystem]), 10, 64)
	return time.Duration(user+system) * clockTick, err == nil
}

// MemoryOf returns the bytes of memory that a process has for itself and that are not swapped out, and whether the
// system says so.
func MemoryOf(pid int) (uint64, bool) {
	statm, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, false // it has ended
	}
	var size, resident, shared uint64 // in pages: see proc(5)
	if _, err := fmt.Sscan(string(statm), &size, &resident, &shared); err != nil || shared > resident {
		return 0, false
	}
	return (resident - shared) * uint64(os.Getpagesize()), true
}
