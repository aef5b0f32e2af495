//go:build unix

package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"idlegrid/jobs"
)

// maxPath is what macOS takes of a socket's path, in bytes; Linux takes four more.
const maxPath = 103

// probeTimeout bounds how long a living agent may take to accept; the kernel does it for it at once.
const probeTimeout = 2 * time.Second

func listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Invalid, "socket %.200s: its path has %d bytes, systems take %d", path, len(path), maxPath),
			"name a shorter one")
	}
	if err := ownFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := clearStale(path); err != nil {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, jobs.Errorf(jobs.Unavailable, "open socket: %w", err)
	}
	if err := os.Chmod(path, 0o666); err != nil { //nolint:gosec // Every local user may connect; handlers ask who calls.
		return nil, errors.Join(jobs.Errorf(jobs.Unavailable, "open the socket for all users: %w", err), l.Close())
	}
	return l, nil
}

// ownFolder makes the socket's folder, and refuses one in which another user could put a socket of their own.
func ownFolder(folder string) error {
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // Others have to reach the socket.
		return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "make the socket's folder: %w", err),
			"the service makes it; name another one where you may write")
	}
	info, err := os.Stat(folder)
	if err != nil {
		return jobs.Errorf(jobs.Unavailable, "look at the socket's folder: %w", err)
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return jobs.Errorf(jobs.Unsupported, "the socket's folder %s: this system does not say whose it is", folder)
	}
	if uid := int(sys.Uid); uid != 0 && uid != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return jobs.WithHint(
			jobs.Errorf(jobs.Denied, "the socket's folder %s can be written by others (user %d, mode %#o)", folder, uid, info.Mode().Perm()),
			"chown it to the agent's user, and chmod go-w '%s'", folder)
	}
	return nil
}

// clearStale removes a socket that nobody listens at any more.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return jobs.Errorf(jobs.Unavailable, "look for an older socket: %w", err)
	}
	if info.Mode().Type() != fs.ModeSocket {
		return jobs.WithHint(jobs.Errorf(jobs.Exists, "%s is there and is no socket", path), "move it away, or name another path")
	}
	c, err := net.DialTimeout("unix", path, probeTimeout)
	if err == nil {
		_ = c.Close() // nothing was said on it
		return jobs.WithHint(jobs.Errorf(jobs.Exists, "an agent listens at %s already", path), "stop it first")
	}
	if !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, fs.ErrNotExist) {
		return jobs.Errorf(jobs.Unavailable, "ask whether an agent listens at %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return jobs.Errorf(jobs.Unavailable, "remove the socket of an agent that has ended: %w", err)
	}
	return nil
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path)
}

// DefaultPath returns where the agent with a state folder listens: the service's agent where every program looks,
// another one in its own folder, which is for its user only.
func DefaultPath(state string) string {
	if filepath.Clean(state) == serviceState {
		return servicePath
	}
	return filepath.Join(state, "agent.sock")
}

// onConn calls f with a connection's file descriptor.
func onConn(c net.Conn, f func(fd int) error) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%T is no connection of Listen", c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
