// Package host is what an executor asks of the operating system: a child that ends with its parent, idle
// priority, CPU time, and memory that is reserved first and taken later.
//
// It promises that an unsupported system still compiles and runs units; it then does without the comfort
// that is missing: normal priority, no CPU times, memory taken at once. It runs nothing itself.
package host

// Priority says how far a child steps back from everything else on the machine.
type Priority int

// The priorities.
const (
	// Low is for work that somebody waits for on this very machine.
	Low Priority = iota
	// Idle is for work that must not be noticed.
	Idle
)
