//go:build !windows

package results

// onWindows is whether names must be ones that Windows keeps as they are.
const onWindows = false
