package host

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// ioprioIdle is IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0) of linux/ioprio.h, and ioprioProcess its
	// IOPRIO_WHO_PROCESS.
	ioprioIdle    = 3 << 13
	ioprioProcess = 1
	// autogroup is where a session's niceness is: see sched(7). Of all processes that are not root's, one may set its own in
	// autogroupAgain.
	autogroup      = "/proc/self/autogroup"
	autogroupAgain = 100 * time.Millisecond
)

// StepBack lowers the priority of this whole process, which has a session of its own, as far as the system lets it, and
// returns what it could not do. An idle process is also the first to go when memory runs out.
func StepBack(p Priority) error {
	err := errors.Join(eachThread(func(tid int) error { return stepBackThread(tid, p) }), stepBackSession(p))
	if p == Idle {
		err = errors.Join(err, os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0))
	}
	return err
}

// stepBackSession lowers what the session has. Outside of cgroups Linux divides processors among sessions first, each of
// which gets as much as any other: the priorities of threads count within one only. Who is not root has to wait for its
// turn while others do the same, which it does beside all else.
func stepBackSession(p Priority) error {
	set := func() error { return os.WriteFile(autogroup, []byte(strconv.Itoa(p.nice())), 0) }
	err := set()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // this kernel knows no such thing
	case errors.Is(err, unix.EAGAIN):
		go func() { // which ends with the process at the latest; the kernel checks all else before it says this
			for errors.Is(set(), unix.EAGAIN) {
				time.Sleep(autogroupAgain + rand.N(autogroupAgain))
			}
		}()
		return nil
	}
	return err
}

// eachThread calls do for every thread. Linux keeps priorities for each thread, and a new thread has those of
// the one that started it; so it goes over the threads until there is none left that it has not seen.
func eachThread(do func(tid int) error) error {
	seen := make(map[int]bool)
	var failed error
	for fresh := true; fresh; {
		tids, err := threads()
		if err != nil {
			return err
		}
		fresh = false
		for _, tid := range tids {
			if seen[tid] {
				continue
			}
			seen[tid], fresh = true, true
			if err := do(tid); err != nil && !errors.Is(err, unix.ESRCH) {
				failed = err
			}
		}
	}
	return failed
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
	var errs []error
	if err := unix.Setpriority(unix.PRIO_PROCESS, tid, p.nice()); err != nil {
		errs = append(errs, fmt.Errorf("set nice: %w", err))
	}
	if p == Idle {
		attr := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
		if err := unix.SchedSetAttr(tid, &attr, 0); err != nil {
			errs = append(errs, fmt.Errorf("set scheduling policy: %w", err))
		}
		if _, _, errno := unix.Syscall(unix.SYS_IOPRIO_SET, ioprioProcess, uintptr(tid), ioprioIdle); errno != 0 {
			errs = append(errs, fmt.Errorf("set I/O class: %w", errno))
		}
	}
	return errors.Join(errs...)
}
