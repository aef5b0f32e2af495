// What a unit's program in C or C++ may call of the grid. Both functions are hints: a program gives the same results
// with and without them. Compiled for anything but WebAssembly they do nothing. The package comment beside this file,
// in doc.go, says which programs need them, and how to build those.
#ifndef GRID_H
#define GRID_H

#ifdef __cplusplus
extern "C" {
#endif

#ifdef __wasm__

// grid_progress says how much of the unit is done, from 0 to 1. It may be called often.
__attribute__((import_module("grid"), import_name("progress"))) void grid_progress(double fraction);

// grid_checkpoint says that a checkpoint may be made here: the unit may go on from this very call, on another machine.
// It needs a module that went through wasm-opt --asyncify. Call it a few times a second or more often, in loops that
// are not the innermost one, with no file open.
__attribute__((import_module("grid"), import_name("checkpoint"))) void grid_checkpoint(void);

#else

static inline void grid_progress(double fraction) { (void)fraction; }
static inline void grid_checkpoint(void) {}

#endif

#ifdef __cplusplus
}
#endif

#endif
