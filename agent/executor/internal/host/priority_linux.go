package host

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	lowestNice = 19
	// ioprioIdle is IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0) of linux/ioprio.h, and ioprioProcess its
	// IOPRIO_WHO_PROCESS.
	ioprioIdle    = 3 << 13
	ioprioProcess = 1
)

// StepBack lowers the priority of this whole process. Linux keeps priorities for each thread, and a new
// thread has those of the one that started it; so it goes over the threads until there is none left that it
// has not seen.
func StepBack(p Priority) error {
	seen := make(map[int]bool)
	for {
		tids, err := threads()
		if err != nil {
			return err
		}
		fresh := false
		for _, tid := range tids {
			if !seen[tid] {
				seen[tid], fresh = true, true
				if err := stepBackThread(tid, p); err != nil && !errors.Is(err, unix.ESRCH) {
					return err
				}
			}
		}
		if !fresh {
			return nil
		}
	}
}

// threads returns the IDs of this process's threads.
func threads() ([]int, error) {
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	var tids []int
	for _, e := range entries {
		if tid, err := strconv.Atoi(e.Name()); err == nil {
			tids = append(tids, tid)
		}
	}
	return tids, nil
}

func stepBackThread(tid int, p Priority) error {
	if err := unix.Setpriority(unix.PRIO_PROCESS, tid, lowestNice); err != nil {
		return fmt.Errorf("set nice of thread %d: %w", tid, err)
	}
	if p != Idle {
		return nil
	}
	attr := unix.SchedAttr{Size: uint32(unsafe.Sizeof(unix.SchedAttr{})), Policy: unix.SCHED_IDLE}
	if err := unix.SchedSetAttr(tid, &attr, 0); err != nil {
		return fmt.Errorf("set scheduling policy of thread %d: %w", tid, err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioProcess, uintptr(tid), ioprioIdle); errno != 0 {
		return fmt.Errorf("set I/O class of thread %d: %w", tid, errno)
	}
	return nil
}
