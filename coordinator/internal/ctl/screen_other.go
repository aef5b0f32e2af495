//go:build !windows

package ctl

import (
	"io"
	"os"
	"os/signal"
	"syscall"
)

// takesEscapes reports whether a terminal takes escape sequences.
func takesEscapes(io.Writer) bool { return true }

// resizes returns a channel that is sent to when the terminal got another size, and what ends that.
func resizes() (<-chan os.Signal, func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGWINCH)
	return c, func() { signal.Stop(c) }
}
