//go:build !unix && !windows

package host

// Reserve returns size bytes of Go's heap: this system is not supported.
func Reserve(size int) ([]byte, error) { return make([]byte, size), nil }

// Commit does nothing: the bytes are usable, and zero.
func Commit([]byte) error { return nil }

// Release does nothing: the garbage collector does.
func Release([]byte) error { return nil }
