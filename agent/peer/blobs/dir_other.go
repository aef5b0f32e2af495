//go:build !unix && !windows

package blobs

import (
	"os"
	"runtime"

	"idlegrid/jobs"
)

// syncDir refuses: without it no receipt could be given.
func syncDir(*os.Root, string) error {
	return jobs.Errorf(jobs.Unsupported, "blob store: not built for %s", runtime.GOOS)
}

func isDiskFull(error) bool { return false }
