//go:build !unix && !windows

package host

import "syscall"

// Attributes returns nil: this system is not supported.
func Attributes() *syscall.SysProcAttr { return nil }
