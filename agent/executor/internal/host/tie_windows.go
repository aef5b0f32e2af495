package host

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Attributes returns how a child is started: in a process group of its own, so that a Ctrl-C in a console is
// for its parent alone, and without a window.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		HideWindow:    true,
		CreationFlags: windows.CREATE_NEW_PROCESS_GROUP,
	}
}

// Tie makes a started child end with this process: it stands alone in a job object, which dies with the last
// handle to it. The returned function is called when the child has ended.
//
// The child is in the job only after it has started. That is no gap, since it is this very program, and
// starts no process itself.
func Tie(p *os.Process) (func(), error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("create a job object: %w", err)
	}
	if err := adopt(job, p); err != nil {
		return nil, fmt.Errorf("put an executor into a job object: %w", errors.Join(err, windows.CloseHandle(job)))
	}
	return func() { _ = windows.CloseHandle(job) }, nil
}

// adopt sets the job's limits and puts the process into it.
func adopt(job windows.Handle, p *os.Process) error {
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{
			LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS |
				windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION,
			ActiveProcessLimit: 1,
		},
	}
	_, err := windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		return err
	}
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(p.Pid))
	if err != nil {
		return err
	}
	if err := windows.AssignProcessToJobObject(job, process); err != nil {
		return errors.Join(err, windows.CloseHandle(process))
	}
	return windows.CloseHandle(process)
}
