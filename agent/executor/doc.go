// Package executor runs units of WebAssembly programs in child processes: one child a slot, kept for further
// units of the same program, and a fresh instance for every unit.
//
// It promises:
//   - A unit that traps, spins, asks for too much or takes its child down fails alone; what it wrote to
//     standard output and standard error before is kept, and the next unit gets a new child if need be.
//   - A unit past its timeout, or whose context ends, is gone within milliseconds, child and all.
//   - No child outlives this process, even if this process is killed.
//   - The same program, arguments, environment, seed and inputs give the same outcome on every machine, as
//     far as wazero does: the bits of a NaN may differ between processors. The clock starts at a fixed time
//     and goes on a millisecond with each reading and by what the guest sleeps.
//   - Nothing of the host is mounted. /in shows the given files, read-only; /out is in memory, with quotas.
//
// A program is a module that exports _start, or one that exports grid_step: then _initialize is called first, if
// it is exported, and grid_step until it returns 1 (done) and not 0 (more); _start is not called. Beside WASI
// preview 1 it may import from the module grid: checkpoint(), which says that a checkpoint may be made here, and
// progress(f64).
//
// It does not fetch, verify or store anything, it does not retry, and it does not know what a job is.
//
// # How a unit fails
//
//	exit     it ended with a code that Unit.Succeeded refuses, or wrote more to standard output than the
//	         limit, whatever its code: half an output is none, and few programs look for a full disk there
//	timeout  it ran longer than Unit.Timeout
//	memory   it was refused memory for Program.Memory and then failed in whatever way; a unit that was refused
//	         memory, or space in /out, and yet ends with success has succeeded
//	trap     its WebAssembly code trapped; the text has wazero's message and stack
//	crash    its child died; the text has how, and what the child said
//	input    the program does not compile or link, or an input is not there with its size
//
// Standard error beyond its limit is dropped, and a line says so; that is no failure.
//
// # Why not in this process
//
// wazero can interrupt a guest only at a great price in speed, a guest that computes holds up Go's garbage
// collector, and a guest that breaks out would be in the agent.
package executor
