//go:build !linux && !windows

package host

import "time"

// CPUOf says that this system does not tell without cgo.
func CPUOf(int) (time.Duration, bool) { return 0, false }

// MemoryOf says that this system does not tell without cgo.
func MemoryOf(int) (uint64, bool) { return 0, false }
