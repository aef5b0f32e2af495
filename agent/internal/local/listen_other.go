//go:build !unix && !windows

package local

import (
	"context"
	"net"
	"runtime"

	"idlegrid/jobs"
)

func listen(path string) (net.Listener, error) { return nil, unsupported(path) }

func dial(_ context.Context, path string) (net.Conn, error) { return nil, unsupported(path) }

// callerOf is never reached: nothing listens.
func callerOf(net.Conn) (Caller, error) { return Caller{}, unsupported("") }

// DefaultPath returns no path: nothing listens.
func DefaultPath(string) string { return "" }

func unsupported(path string) error {
	return jobs.Errorf(jobs.Unsupported, "a local socket (%s) is not built on %s", path, runtime.GOOS)
}
