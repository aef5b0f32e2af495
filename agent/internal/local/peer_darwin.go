package local

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	serviceState = "/Library/Application Support/idlegrid/agent"
	servicePath  = "/var/run/idlegrid/agent.sock"

	// firstPerson is the UID of the first account that macOS makes for a person, less one; services have lower ones.
	firstPerson = 500
)

// callerOf asks the kernel who connected. macOS has no names of sessions that a daemon could ask for by process; who
// sits at the screen is known by user.
func callerOf(c net.Conn) (Caller, error) {
	var cred *unix.Xucred
	var pid int
	err := onConn(c, func(fd int) (err error) {
		if cred, err = unix.GetsockoptXucred(fd, unix.SOL_LOCAL, unix.LOCAL_PEERCRED); err != nil {
			return err
		}
		pid, err = unix.GetsockoptInt(fd, unix.SOL_LOCAL, unix.LOCAL_PEERPID)
		return err
	})
	if err != nil {
		return Caller{}, err
	}
	return Caller{
		User: strconv.FormatUint(uint64(cred.Uid), 10), PID: pid,
		Root: cred.Uid == 0, SameUser: int(cred.Uid) == os.Geteuid(), interactive: cred.Uid >= firstPerson,
	}, nil
}
