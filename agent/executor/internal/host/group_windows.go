package host

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Group is where the children of one pool stand: each in a job object of its own.
type Group struct{ priority Priority }

// OpenGroup returns a group. There are no cgroups here: the folder is not looked at.
func OpenGroup(_ string, p Priority) *Group { return &Group{p} }

// String says how children are frozen and what keeps them back.
func (g *Group) String() string {
	if g.priority == Idle {
		return "NtSuspendProcess, IDLE_PRIORITY_CLASS"
	}
	return "NtSuspendProcess, BELOW_NORMAL_PRIORITY_CLASS"
}

// Close does nothing.
func (g *Group) Close() error { return nil }

// Seat is one child's place in a group: a job object, which ends the child with the last handle to it.
type Seat struct {
	job, process windows.Handle
	limits       windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
}

// Join takes a child in that was just started, and makes it end with this process.
//
// The child is in the job only after it has started. That is no gap, since it is this very program, and
// starts no process itself.
func (g *Group) Join(p *os.Process) (*Seat, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("create a job object: %w", err)
	}
	s := &Seat{job: job}
	s.limits.BasicLimitInformation = windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{
		LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS |
			windows.JOB_OBJECT_LIMIT_DIE_ON_UNHANDLED_EXCEPTION | windows.JOB_OBJECT_LIMIT_PRIORITY_CLASS,
		ActiveProcessLimit: 1,
		PriorityClass:      priorityClass(g.priority),
	}
	if err := s.adopt(p); err != nil {
		return nil, fmt.Errorf("put an executor into a job object: %w", errors.Join(err, s.Leave()))
	}
	return s, nil
}

// adopt sets the job's limits and puts the process into it.
func (s *Seat) adopt(p *os.Process) error {
	if err := s.setLimits(); err != nil {
		return err
	}
	access := uint32(windows.PROCESS_SET_QUOTA | windows.PROCESS_TERMINATE | windows.PROCESS_SUSPEND_RESUME)
	var err error
	if s.process, err = windows.OpenProcess(access, false, uint32(p.Pid)); err != nil {
		return err
	}
	return windows.AssignProcessToJobObject(s.job, s.process)
}

func (s *Seat) setLimits() error {
	_, err := windows.SetInformationJobObject(s.job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&s.limits)), uint32(unsafe.Sizeof(s.limits)))
	return err
}

// Freeze suspends the child. It must not be called twice without a Thaw in between: Windows counts.
func (s *Seat) Freeze() error { return s.call("NtSuspendProcess") }

// Thaw lets it go on.
func (s *Seat) Thaw() error { return s.call("NtResumeProcess") }

// call calls a function of ntdll with the process. They are in no header, and what debuggers use.
func (s *Seat) call(name string) error {
	status, _, _ := windows.NewLazySystemDLL("ntdll.dll").NewProc(name).Call(uintptr(s.process))
	if status != 0 && windows.NTStatus(status) != windows.STATUS_PROCESS_IS_TERMINATING {
		return fmt.Errorf("%s: %w", name, windows.NTStatus(status))
	}
	return nil
}

// Frozen says that a child stands still for which Freeze was called: it has suspended every thread.
func (s *Seat) Frozen() (bool, error) { return true, nil }

// Limit bounds the memory that the child has been promised, in bytes: above it the child fails.
func (s *Seat) Limit(bytes uint64) error {
	s.limits.BasicLimitInformation.LimitFlags |= windows.JOB_OBJECT_LIMIT_PROCESS_MEMORY
	s.limits.ProcessMemoryLimit = uintptr(bytes)
	return s.setLimits()
}

// Leave gives the place up: the child has ended, or ends now.
func (s *Seat) Leave() error {
	err := windows.CloseHandle(s.job)
	if s.process != 0 {
		err = errors.Join(err, windows.CloseHandle(s.process))
	}
	return err
}
