//go:build !unix && !windows

package blobs

// isDiskFull cannot tell here: a full disk is an error like any other.
func isDiskFull(error) bool { return false }
