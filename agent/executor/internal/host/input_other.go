//go:build !unix

package host

import "os"

// Input returns standard input.
func Input() *os.File { return os.Stdin }
