package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"

	"github.com/Microsoft/go-winio"
	"golang.org/x/sys/windows"

	"idlegrid/jobs"
)

const (
	servicePath = `\\.\pipe\idlegrid-agent`

	// access is who may connect: not from the network (NU); all for the agent's own account (OW), SYSTEM and
	// administrators; for people who are logged in (IU) reading and writing, which is all but FILE_CREATE_PIPE_INSTANCE:
	// with that they could answer in the agent's place.
	access = "D:P(D;;GA;;;NU)(A;;GA;;;OW)(A;;GA;;;SY)(A;;GA;;;BA)(A;;0x12019b;;;IU)"

	// services is the session that only services run in.
	services = 0
)

// Neither is in x/sys; both take the handle of a pipe and a place for the number.
var (
	kernel32      = windows.NewLazySystemDLL("kernel32.dll")
	clientSession = kernel32.NewProc("GetNamedPipeClientSessionId")
	serverSession = kernel32.NewProc("GetNamedPipeServerSessionId")
)

func listen(path string) (net.Listener, error) {
	l, err := winio.ListenPipe(path, &winio.PipeConfig{SecurityDescriptor: access, InputBufferSize: 64 << 10, OutputBufferSize: 64 << 10})
	switch {
	case errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_ALREADY_EXISTS):
		return nil, jobs.WithHint(jobs.Errorf(jobs.Exists, "an agent listens at %s already: %w", path, err), "stop it first")
	case err != nil:
		return nil, jobs.Errorf(jobs.Unavailable, "open pipe %s: %w", path, err)
	}
	return l, nil
}

// dial connects, and makes sure that a service listens, or a program of this very session: anybody could have opened
// a pipe of that name while no agent ran.
func dial(ctx context.Context, path string) (net.Conn, error) {
	c, err := winio.DialPipeContext(ctx, path)
	if err != nil {
		return nil, err
	}
	session, err := pipeSession(c, serverSession)
	var own uint32
	if err == nil {
		err = windows.ProcessIdToSessionId(windows.GetCurrentProcessId(), &own)
	}
	if err == nil && session != services && session != own {
		err = jobs.Errorf(jobs.Denied, "a program of session %d listens at %s, which is no service", session, path)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// DefaultPath returns where the agent with a state folder listens: the service's agent where every program looks,
// another one at a name made of its folder's.
func DefaultPath(state string) string {
	if strings.EqualFold(filepath.Clean(state), serviceState()) {
		return servicePath
	}
	return servicePath + "-" + jobs.DigestOf([]byte(strings.ToLower(filepath.Clean(state)))).String()[:16]
}

func serviceState() string {
	data, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
	if err != nil {
		data = `C:\ProgramData` // where it is on every machine that does not say
	}
	return filepath.Join(data, "idlegrid", "agent")
}

// callerOf asks the system who connected. The session comes with the pipe itself. The user comes from the process,
// which a service without the rights of SYSTEM may not be allowed to look at; the session then stands for them.
func callerOf(c net.Conn) (Caller, error) {
	session, err := pipeSession(c, clientSession)
	if err != nil {
		return Caller{}, err
	}
	var pid uint32
	h, err := pipeHandle(c)
	if err == nil {
		err = windows.GetNamedPipeClientProcessId(h, &pid)
	}
	if err != nil {
		return Caller{}, err
	}
	caller := Caller{PID: int(pid)}
	if session != services {
		caller.Session = strconv.FormatUint(uint64(session), 10)
	}
	if err := caller.readToken(pid); err != nil && caller.Session == "" {
		return Caller{}, fmt.Errorf("ask who process %d is: %w", pid, err)
	}
	return caller, nil
}

// readToken adds who a process runs as.
func (c *Caller) readToken(pid uint32) error {
	process, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, pid)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(process) // Nothing is written.
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return err
	}
	defer token.Close()
	user, err := token.GetTokenUser()
	if err != nil {
		return err
	}
	own, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return err
	}
	c.User, c.SameUser = user.User.Sid.String(), user.User.Sid.Equals(own.User.Sid)
	c.Root = token.IsElevated() || user.User.Sid.IsWellKnown(windows.WinLocalSystemSid)
	return nil
}

func pipeHandle(c net.Conn) (windows.Handle, error) {
	f, ok := c.(interface{ Fd() uintptr })
	if !ok {
		return 0, fmt.Errorf("%T is no connection of Listen", c)
	}
	return windows.Handle(f.Fd()), nil
}

// pipeSession calls one of the functions that say in which session an end of a pipe is.
func pipeSession(c net.Conn, f *windows.LazyProc) (uint32, error) {
	h, err := pipeHandle(c)
	if err != nil {
		return 0, err
	}
	var session uint32
	if ok, _, err := f.Call(uintptr(h), uintptr(unsafe.Pointer(&session))); ok == 0 {
		return 0, fmt.Errorf("%s: %w", f.Name, err)
	}
	return session, nil
}
