//go:build unix && !linux

package host

import (
	"os"
	"syscall"
)

// Attributes returns how a child is started: in a process group of its own, so that a Ctrl-C in a terminal
// is for its parent alone.
func Attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// Tie makes a started child end with this process. Here the child sees to it alone: it ends when its
// standard input does. The returned function is called when the child has ended.
func Tie(*os.Process) (func(), error) { return func() {}, nil }
