//go:build !unix && !windows

package host

import "time"

// CPUTime returns 0: this system is not supported.
func CPUTime() time.Duration { return 0 }
