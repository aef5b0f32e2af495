package host

import (
	"os"
	"syscall"
)

// Attributes returns how a child is started: in a process group of its own, so that a Ctrl-C in a terminal
// is for its parent alone, and killed when the thread that started it ends. The caller locks its goroutine
// to the thread until the child has ended.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// Tie makes a started child end with this process. The returned function is called when the child has ended.
func Tie(*os.Process) (func(), error) { return func() {}, nil }
