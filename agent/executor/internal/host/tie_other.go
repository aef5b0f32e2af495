//go:build !unix && !windows

package host

import (
	"os"
	"syscall"
)

// Attributes returns nil: this system is not supported.
func Attributes() *syscall.SysProcAttr { return nil }

// Tie does nothing: the child ends when its standard input does.
func Tie(*os.Process) (func(), error) { return func() {}, nil }
