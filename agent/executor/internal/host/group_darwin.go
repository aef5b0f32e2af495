package host

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// stopped is SSTOP of sys/proc.h: the process is stopped by a signal.
const stopped = 4

// Group is where the children of one pool stand: here, anywhere.
type Group struct{ priority Priority }

// OpenGroup returns a group. There are no cgroups here: the folder is not looked at.
func OpenGroup(_ string, p Priority) *Group { return &Group{p} }

// String says how children are frozen and what keeps them back.
func (g *Group) String() string {
	if g.priority == Idle {
		return "SIGSTOP, background"
	}
	return "SIGSTOP, nice 5"
}

// Join takes a child in that was just started. The child sees to it alone that it ends with this process: it does when
// its standard input does.
func (g *Group) Join(p *os.Process) (*Seat, error) { return &Seat{p}, nil }

// Close does nothing.
func (g *Group) Close() error { return nil }

// Seat is one child's place in a group.
type Seat struct{ process *os.Process }

// Freeze stops the child soon; Frozen says when. A child is one process.
func (s *Seat) Freeze() error { return s.signal(unix.SIGSTOP) }

// Thaw lets it go on.
func (s *Seat) Thaw() error { return s.signal(unix.SIGCONT) }

func (s *Seat) signal(signal os.Signal) error {
	if err := s.process.Signal(signal); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Frozen reports whether a child stands still that Freeze was called for, or has ended.
func (s *Seat) Frozen() (bool, error) {
	info, err := unix.SysctlKinfoProc("kern.proc.pid", s.process.Pid)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EIO) { // EIO: it got nothing, for there is no such process
		return true, nil
	}
	return err == nil && info.Proc.P_stat == stopped, err
}

// Limit does nothing: this system limits no other process.
func (s *Seat) Limit(uint64) error { return nil }

// Leave does nothing.
func (s *Seat) Leave() error { return nil }
