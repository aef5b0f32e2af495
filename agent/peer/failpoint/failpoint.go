// Package failpoint names the moments between two steps that must survive a crash, so that tests can have a
// process die just there.
//
// In an ordinary build Hit is empty and compiled away. Built with the tag failpoints, which only the end-to-end
// tests do, the process kills itself at the point that is armed: the environment names a file, and the file the
// point, so that a test may arm one while the process runs.
//
// A bug may be planted likewise, to show that a test finds it: Planted is false in an ordinary build and compiled
// away with what depends on it. Built with the tag it is true for the bug that the environment names.
//
// It shows what a killed process leaves, and not what a power cut does: the system keeps what was written and
// not yet synced.
package failpoint
