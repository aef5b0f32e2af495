package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"idlegrid/agent/internal/cgroup"
)

// Group is where the children of one pool stand: in a cgroup v2 with one below it for each child, which freezes all
// threads of a child at once, else anywhere, stopped by signals.
type Group struct {
	priority Priority
	units    string // the folder of the children's cgroup; empty: there is none
	idle     bool   // it has cpu.idle: together the children weigh next to nothing, however many threads they have
	why      string // there is none
}

// OpenGroup returns a group in the cgroup v2 with that folder, which must be ours alone. Without a folder it is this
// process's own one, if that was delegated to it and the children are to be idle. Where that does not work, it makes
// do with signals, and String says why.
func OpenGroup(folder string, p Priority) *Group {
	g := &Group{priority: p}
	own, _, err := cgroup.Own("/")
	switch {
	case folder == "" && p != Idle:
		return g
	case folder == "" && err == nil:
		folder, err = own, delegated(own)
	case folder != "":
		err = nil
	}
	if err == nil {
		err = g.open(folder, folder == own)
	}
	if err != nil {
		g.units, g.why = "", err.Error()
	}
	return g
}

// delegated returns why a cgroup is not ours to divide. A service manager that gave it away says so in an attribute;
// where it cannot, the folder belongs to the user who may have it. That means nothing for root, who owns all of them.
func delegated(folder string) error {
	mark := make([]byte, 1)
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		if n, err := unix.Getxattr(folder, name, mark); err == nil && n == 1 && mark[0] == '1' {
			return nil
		}
	}
	var s unix.Stat_t
	if err := unix.Stat(filepath.Join(folder, "cgroup.procs"), &s); err != nil {
		return err
	}
	if uid := os.Getuid(); uid == 0 || int(s.Uid) != uid {
		return errors.New("the cgroup is not delegated")
	}
	return nil
}

// open makes the children's cgroup. Where it is to have controllers, its parent may have no processes of its own, so
// this one moves into another beside it.
func (g *Group) open(folder string, own bool) error {
	if own {
		if err := makeCgroup(filepath.Join(folder, cgroup.AgentPart)); err != nil {
			return err
		}
		if err := write(filepath.Join(folder, cgroup.AgentPart), "cgroup.procs", strconv.Itoa(os.Getpid())); err != nil {
			return err
		}
	}
	g.units = filepath.Join(folder, cgroup.UnitsPart)
	if err := makeCgroup(g.units); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(g.units, "cgroup.freeze")); err != nil {
		return err
	}
	// What was left of an agent that was killed; what is in use stays.
	if left, err := os.ReadDir(g.units); err == nil {
		for _, e := range left {
			if e.IsDir() {
				_ = os.Remove(filepath.Join(g.units, e.Name()))
			}
		}
	}
	enable(folder, "cpu", "memory")
	enable(g.units, "memory")
	g.idle = g.priority == Idle && write(g.units, "cpu.idle", "1") == nil // not there without the controller
	return nil
}

func makeCgroup(folder string) error {
	if err := os.Mkdir(folder, 0o750); !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// enable gives those controllers to the cgroups below that there are.
func enable(folder string, names ...string) {
	there, err := os.ReadFile(filepath.Join(folder, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, name := range names {
		if slices.Contains(strings.Fields(string(there)), name) {
			// Refused where other processes are in the cgroup. Freezing needs no controller.
			_ = write(folder, "cgroup.subtree_control", "+"+name)
		}
	}
}

func write(folder, name, text string) error {
	f, err := os.OpenFile(filepath.Join(folder, name), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// String says how children are frozen and what keeps them back.
func (g *Group) String() string {
	back := "nice 5"
	switch {
	case g.idle:
		back = "cpu.idle"
	case g.priority == Idle:
		back = "SCHED_IDLE"
	}
	switch {
	case g.units != "":
		return "cgroup2 freeze, " + back
	case g.why != "":
		return "SIGSTOP, " + back + " (" + g.why + ")"
	}
	return "SIGSTOP, " + back
}

// Join takes a child in that was just started.
func (g *Group) Join(p *os.Process) (*Seat, error) {
	s := &Seat{process: p}
	if g.units == "" {
		return s, nil
	}
	s.folder = filepath.Join(g.units, strconv.Itoa(p.Pid))
	if err := makeCgroup(s.folder); err != nil {
		return nil, err
	}
	if err := write(s.folder, "cgroup.procs", strconv.Itoa(p.Pid)); err != nil {
		return nil, fmt.Errorf("put an executor into a cgroup: %w", errors.Join(err, os.Remove(s.folder)))
	}
	return s, nil
}

// Close removes what OpenGroup made. No child is left.
func (g *Group) Close() error {
	if g.units == "" {
		return nil
	}
	err := os.Remove(g.units)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, os.ErrNotExist) {
		return nil // another pool has children there, or it is closed already
	}
	return err
}

// Seat is one child's place in a group.
type Seat struct {
	process *os.Process
	folder  string // of its cgroup; empty: it has none
}

// Freeze stops the child soon; Frozen says when.
func (s *Seat) Freeze() error { return s.set("1", unix.SIGSTOP) }

// Thaw lets it go on.
func (s *Seat) Thaw() error { return s.set("0", unix.SIGCONT) }

// set writes to the child's cgroup, or sends it a signal. A child is one process, and signals to a process by its
// handle never meet another one that got its number.
func (s *Seat) set(freeze string, signal os.Signal) error {
	if s.folder != "" {
		return write(s.folder, "cgroup.freeze", freeze)
	}
	if err := s.process.Signal(signal); !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

// Frozen reports whether a child stands still that Freeze was called for, to the last thread, or has ended.
func (s *Seat) Frozen() (bool, error) {
	if s.folder != "" {
		events, err := os.ReadFile(filepath.Join(s.folder, "cgroup.events"))
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			return true, nil // it has ended and left
		}
		return bytes.Contains(events, []byte("frozen 1")) || bytes.Contains(events, []byte("populated 0")), err
	}
	var info unix.Siginfo
	// It does not take the news away: who waits for the child's end hears of it too.
	err := unix.Waitid(unix.P_PID, s.process.Pid, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if errors.Is(err, unix.ECHILD) {
		return true, nil
	}
	return info.Signo != 0, err
}

// Limit asks the system to take memory from the child above so many bytes, where it can: what the child has read from
// files, and what can be swapped. A child above it is slow, and does not fail.
func (s *Seat) Limit(bytes uint64) error {
	if s.folder == "" {
		return nil
	}
	err := write(s.folder, "memory.high", strconv.FormatUint(bytes, 10))
	if errors.Is(err, os.ErrNotExist) {
		return nil // the controller is not ours
	}
	return err
}

// Leave gives the place up: the child has ended, and what it may have started ends now.
func (s *Seat) Leave() error {
	if s.folder == "" {
		return nil
	}
	if err := write(s.folder, "cgroup.kill", "1"); err != nil && !errors.Is(err, os.ErrNotExist) { // since Linux 5.14
		return err
	}
	return os.Remove(s.folder)
}
