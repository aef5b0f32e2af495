package host

import (
	"syscall"

	"golang.org/x/sys/windows"
)

// Attributes returns how a child is started: in a process group of its own, so that a Ctrl-C in a console is
// for its parent alone, and without a window.
func Attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		HideWindow:    true,
		CreationFlags: windows.CREATE_NEW_PROCESS_GROUP,
	}
}
