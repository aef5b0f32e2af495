// Package executor runs units of WebAssembly programs in child processes: one child a slot, kept for further
// units of the same program, and a fresh instance for every unit.
//
// It promises:
//   - A unit that traps, spins, asks for too much or takes its child down fails alone; what it wrote to
//     standard output and standard error before is kept, and the next unit gets a new child if need be.
//   - A unit past its timeout, or whose context ends, is gone within milliseconds, child and all.
//   - No child outlives this process, even if this process is killed.
//   - No more children go on than Pool.Allow lets, from its return on.
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
// # Checkpoints
//
// Which way a program has is decided by the module alone; Inspect says it.
//
//   - step, where it exports grid_step: its memory, between two steps.
//   - call, where it imports grid.checkpoint and went through wasm-opt --asyncify
//     --pass-arg=asyncify-imports@grid.checkpoint: its memory and its frames, at a call. The frames lie at the end of
//     the guest's memory for that moment, over whatever is there, and it is put back: no allocator sees them. They may
//     take 4 MiB, or all of a smaller memory; with more the guest traps.
//   - files, all others: what lies in /checkpoint, which has the quotas of /out, at a moment when none of it is open
//     for writing, and only if it has changed. Who writes a new file and renames it always finds a whole one. The
//     program begins anew with the files there; what it has written to standard output, standard error and /out
//     before is not kept, and its clock and random source begin anew, too.
//
// With the first two, a unit that goes on gives what it gives undisturbed: kept are all mutable globals, what was
// written to standard output, standard error and /out, the place in standard input, the clock, the random source, and
// what was refused for a limit. Not kept are tables that the program changes itself, and data and element segments
// that it drops, which no compiler for WASI preview 1 makes use of. There is no checkpoint while a file or folder is
// open, or with mutable globals of vectors or references; the log says so.
//
// A checkpoint is one file with the whole state, or that and one with the pages of 64 KiB that changed since; when
// they outgrow half of the whole state, it is made anew. The child writes to the pipe, the parent to the disk. Pages
// of zeros are left out. A child goes on only from files of the right digests, and takes them apart itself: they come
// from strangers.
//
// To set globals, and to keep a start function from running once more, the child rewrites the module's list of
// exports in memory, after its digest was verified.
//
// # Frozen
//
// Pool.Allow freezes children, whatever they do, and lets them go on: on Linux by a cgroup v2 that was delegated, else
// by signals. What is frozen takes no CPU time and keeps its memory, of which FrozenMemory and DropFrozen know. The
// time in which a unit is frozen counts nowhere.
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
