// Command reactor is run step by step, for the tests of the executor. Its arguments are the number of steps, and
// what grid_step returns at last.
package main

import (
	"fmt"
	"os"
	"strconv"
)

//go:wasmimport grid progress
func progress(fraction float64)

//go:wasmimport grid checkpoint
func checkpoint()

var state struct {
	steps, limit, last int
}

func init() {
	state.limit, _ = strconv.Atoi(os.Args[1])
	state.last, _ = strconv.Atoi(os.Args[2])
	fmt.Println("initialised")
}

//go:wasmexport grid_step
func step() int32 {
	state.steps++
	checkpoint()
	progress(float64(state.steps) / float64(state.limit))
	fmt.Println("step", state.steps)
	if state.steps < state.limit {
		return 0
	}
	return int32(state.last)
}

func main() { panic("a reactor has no main") }
