// Package guest is for programs whose units run on a grid: a package for Go, and grid.h beside it for C and C++. With
// it a program says how far a unit is (Progress), and where a checkpoint may be made.
//
// A program needs none of it: any module for WASI preview 1 runs as it is. It promises that nothing of it changes what
// a unit gives, and outside of WebAssembly all of it does nothing, so that a program can be run and tested natively.
// A module that imports from grid runs on this grid only; one that just exports grid_step runs elsewhere, too, with a
// few lines that call it.
//
// # Checkpoints
//
// When the machine that runs a unit is needed by its owner, or switched off, another one goes on with the unit from
// its last checkpoint. Without one it begins again, which is right for units that take less than the job's interval:
// checkpoint in job.yaml, two minutes if it is not said. There are three ways. The module alone decides which; gridctl
// validate says it.
//
//	way              for                   what is kept                   what it costs
//	grid_step        Go; loops in C, Rust  memory and output, between     the program is cut into steps;
//	                                       two steps                      nothing while it runs
//	grid.checkpoint  C, C++, Rust          memory, stack and output, at   a pass of wasm-opt; functions that reach
//	                                       such a call                    the call get larger and a little slower
//	/checkpoint      any language          the files there                code that writes them, and reads them
//	                                                                      when it starts
//
// With the first two, for which there is no /checkpoint, a unit does not notice, and gives the same bytes. No checkpoint
// is made while a file or folder is open, standard input and output aside: read inputs whole and close them.
//
// # grid_step
//
// The module exports grid_step, without parameters. It is called again and again: it returns 0 while there is more to
// do, and 1 when all is done. A step takes some milliseconds up to a few hundred: a checkpoint waits for its end, and
// has two seconds when a machine is switched off. A program in Go is then built as a library, whose main is not called;
// init functions are. What a step needs of the ones before is in package variables:
//
//	var search *Search
//
//	//go:wasmexport grid_step
//	func step() int32 {
//		if search == nil {
//			search = begin(os.Args[1:])
//		}
//		if !search.advance() {
//			guest.Progress(search.fraction())
//			return 0
//		}
//		search.print()
//		return 1
//	}
//
//	func main() { // for go run
//		for step() == 0 {
//		}
//	}
//
//	GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared -ldflags='-s -w' -o search.wasm .
//
// A step that fails writes to standard error and calls os.Exit, as main would. jobs/examples/tour is such a program.
//
// In C the function has __attribute__((export_name("grid_step"))), and clang links with -mexec-model=reactor. There is
// no argv then: let job.yaml say it by env, for getenv. And nobody flushes stdout at the end: do it before the 1.
//
// # grid.checkpoint
//
// The program calls grid_checkpoint() of grid.h where a checkpoint may be made, however deep in calls it is then:
// every few milliseconds, and not in its innermost loop, because what reaches the call gets slower and the call itself
// takes time. Calls through pointers may reach everything, as far as wasm-opt can tell. What is on the stack at the call
// may take 4 MiB, or as much as the memory where that is less; with more the unit fails. It is an ordinary program
// otherwise, with a main function:
//
//	clang --target=wasm32-wasi -O2 -Wl,--strip-debug -I jobs/guest -o search.wasm search.c
//	wasm-opt -O2 --asyncify --pass-arg=asyncify-imports@grid.checkpoint search.wasm -o search.wasm
//
// wasm-opt is part of Binaryen (Debian: apt install binaryen). jobs/examples/queens is such a program. In Rust:
//
//	mod grid {
//		#[link(wasm_import_module = "grid")]
//		extern "C" {
//			pub fn checkpoint();
//			pub fn progress(fraction: f64);
//		}
//	}
//	... unsafe { grid::checkpoint() } ...
//
//	rustc --edition 2021 -O --target wasm32-wasip1 search.rs
//	wasm-opt -O2 --asyncify --pass-arg=asyncify-imports@grid.checkpoint search.wasm -o search.wasm
//
// The target was called wasm32-wasi before Rust 1.78; edition 2024 wants an unsafe extern block.
//
// Go has none of it: the pass would make a Go module several times as large, and so slow to start.
//
// # /checkpoint
//
// A program that does neither of these may keep files in /checkpoint, a folder with the limits of /out. They are taken
// along at a moment when none of them is open for writing. The program starts from its beginning and finds them there
// when its unit goes on, or an empty folder when it begins; what it had printed or written to /out is gone. Whoever
// writes a new file and renames it over the old one always finds a whole one. That is the way for a state that is much
// smaller than the memory, and for a program in a language that nothing above suits:
//
//	search, err := read("/checkpoint/state")
//	if errors.Is(err, fs.ErrNotExist) {
//		search, err = begin(os.Args[1:])
//	}
package guest

// Progress says how much of the unit is done, from 0 to 1. It may be called often.
func Progress(fraction float64) { progress(fraction) }
