// Package host is what an executor asks of the operating system: a child that ends with its parent and can be frozen,
// idle priority, CPU time, and memory that is reserved first and taken later.
//
// It promises that an unsupported system still compiles and runs units; it then does without the comfort
// that is missing: normal priority, no CPU times, memory taken at once. To freeze a child it refuses there. It runs
// nothing itself.
//
// # Frozen
//
// A cgroup v2 is preferred to a signal on Linux: it stops all threads of a child at once, where a signal reaches one
// thread, which must get a processor before it stops the others. Only files of the cgroup's core are needed for that.
// Its cpu.idle is preferred to the idle priority of threads, whose weights add up.
package host

// Priority says how far a child steps back from everything else on the machine.
type Priority int

// The priorities.
const (
	// Low is for work on a machine where it is a purpose of the machine, or where somebody waits for it: behind
	// what is typed and served there, but not starved by it.
	Low Priority = iota
	// Idle is for work that must not be noticed.
	Idle
)

// nice is the priority in the words of Unix. Against one busy process of normal priority, a process at 5 gets
// a quarter of a core and one at 19 a hundredth (weights 335 and 15 of 1024 in Linux's scheduler).
func (p Priority) nice() int {
	if p == Idle {
		return 19
	}
	return 5
}
