//go:build unix

package host

import (
	"os"
	"syscall"
)

// Input returns standard input such that who reads it waits in Go's poller and not in the kernel: then what was read
// is handled on the same thread, which saves a sixth of the CPU time of a unit that does nothing.
func Input() *os.File {
	const stdin = 0
	if err := syscall.SetNonblock(stdin, true); err != nil {
		return os.Stdin
	}
	return os.NewFile(stdin, os.Stdin.Name())
}
