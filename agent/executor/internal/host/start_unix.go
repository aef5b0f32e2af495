//go:build unix && !linux

package host

import "syscall"

// Attributes returns how a child is started: in a process group of its own, so that a Ctrl-C in a terminal
// is for its parent alone.
func Attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
