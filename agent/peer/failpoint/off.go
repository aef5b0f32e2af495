//go:build !failpoints

package failpoint

// Hit does nothing in this build.
func Hit(string) {}

// Planted is false in this build.
func Planted(string) bool { return false }
