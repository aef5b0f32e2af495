//go:build !windows

package ctl

import "io"

// takesEscapes reports whether a terminal takes escape sequences.
func takesEscapes(io.Writer) bool { return true }
