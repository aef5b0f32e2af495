package host

import "syscall"

// Attributes returns how a child is started: in a process group of its own, so that a Ctrl-C in a terminal
// is for its parent alone, and killed when the thread that started it ends. The caller locks its goroutine
// to the thread until the child has ended.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
