package local

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	serviceState = "/var/lib/idlegrid/agent"
	servicePath  = "/run/idlegrid/agent.sock"

	// maxProc bounds what is read of a process: its groups are a few lines, and it chooses none of them.
	maxProc = 16 << 10
)

// callerOf asks the kernel who connected. The user is certain. The session is that of the process that has the number
// now: one that connected, ended and left its number to another may have a wrong one, so that whoever joins reports
// with sessions compares the user too.
func callerOf(c net.Conn) (Caller, error) {
	var cred *unix.Ucred
	err := onConn(c, func(fd int) (err error) {
		cred, err = unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		return err
	})
	if err != nil {
		return Caller{}, err
	}
	caller := Caller{
		User: strconv.FormatUint(uint64(cred.Uid), 10), PID: int(cred.Pid),
		Root: cred.Uid == 0, SameUser: int(cred.Uid) == os.Geteuid(),
	}
	// Where these cannot be read, because the process has ended or may not be looked at, it has no session that is
	// known. PID 0 is one of another namespace.
	folder := fmt.Sprintf("/proc/%d/", cred.Pid)
	if groups, err := readSome(folder + "cgroup"); err == nil {
		caller.Session, caller.interactive = sessionOf(string(groups))
	}
	if stat, err := readSome(folder + "stat"); err == nil && hasTerminal(stat) {
		caller.interactive = true
	}
	return caller, nil
}

// sessionOf finds in the control groups of a process the session of logind or elogind that it belongs to, and
// whether it belongs to a user who is logged in at all: the user's service manager has a group beside the sessions.
func sessionOf(groups string) (session string, interactive bool) {
	for line := range strings.Lines(groups) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		parts := strings.Split(strings.Trim(path, "/"), "/")
		switch {
		case controllers == "name=elogind" && len(parts) == 1 && parts[0] != "":
			return parts[0], true
		case len(parts) >= 3 && parts[0] == "user.slice" && strings.HasPrefix(parts[1], "user-"):
			interactive = true
			if name, isScope := strings.CutSuffix(parts[2], ".scope"); isScope {
				if id, isSession := strings.CutPrefix(name, "session-"); isSession {
					return id, true
				}
			}
		}
	}
	return "", interactive
}

// hasTerminal reports whether /proc/PID/stat says that the process has a controlling terminal: its seventh field, see
// proc(5). That is how one knows people on a machine without logind.
func hasTerminal(stat []byte) bool {
	const terminal = 4 // behind the name: state, parent, group, session, terminal
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(fields) > terminal && string(fields[terminal]) != "0"
}

func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxProc))
}
