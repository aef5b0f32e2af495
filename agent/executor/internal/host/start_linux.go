package host

import "syscall"

// Attributes returns how a child is started: in a session of its own, so that a Ctrl-C in a terminal is for its parent
// alone and StepBack can lower what the session has, and killed when the thread that started it ends. The caller locks
// its goroutine to the thread until the child has ended.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
}
