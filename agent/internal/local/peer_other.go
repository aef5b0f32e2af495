//go:build unix && !linux && !darwin

package local

import (
	"net"
	"runtime"

	"idlegrid/jobs"
)

const (
	serviceState = "/var/lib/idlegrid/agent"
	servicePath  = "/var/run/idlegrid/agent.sock"
)

// callerOf is unsupported: nobody is let in.
func callerOf(net.Conn) (Caller, error) {
	return Caller{}, jobs.Errorf(jobs.Unsupported, "on %s it is not built to ask who connects", runtime.GOOS)
}
