//go:build !unix && !windows

package host

// StepBack does nothing: this system is not supported.
func StepBack(Priority) error { return nil }
