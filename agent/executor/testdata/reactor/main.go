// Command reactor is run step by step, for the tests of the executor. Its arguments are the number of steps, what
// grid_step returns at last, and perhaps "work", for steps that depend on all that a checkpoint keeps, or "open",
// for a file that is open from the second step to the middle one.
package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

//go:wasmimport grid progress
func progress(fraction float64)

//go:wasmimport grid checkpoint
func checkpoint()

var state struct {
	steps, limit, last int

	sum   [32]byte
	trace map[int][]byte
	open  *os.File
}

func init() {
	state.limit, _ = strconv.Atoi(os.Args[1])
	state.last, _ = strconv.Atoi(os.Args[2])
	state.trace = make(map[int][]byte)
	fmt.Println("initialised")
}

//go:wasmexport grid_step
func step() int32 {
	state.steps++
	checkpoint()
	progress(float64(state.steps) / float64(state.limit))
	if len(os.Args) > 3 {
		if err := map[string]func() error{"work": work, "open": hold}[os.Args[3]](); err != nil {
			fmt.Println(err)
			return -1
		}
	}
	fmt.Println("step", state.steps)
	if state.steps < state.limit {
		return 0
	}
	return int32(state.last)
}

// hold keeps a file open for some steps.
func hold() (err error) {
	switch state.steps {
	case 2:
		state.open, err = os.Create("/out/held")
	case state.limit / 2:
		err = state.open.Close()
	}
	return err
}

// work folds random numbers, the clock, standard input, files of its own and old memory into a sum.
func work() error {
	random := make([]byte, 100)
	rand.Read(random)
	in := make([]byte, 3)
	if _, err := os.Stdin.Read(in); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	name := fmt.Sprintf("/out/dir%d/file", state.steps%3)
	if err := os.MkdirAll(name[:len(name)-5], 0o777); err != nil {
		return err
	}
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	info, err := os.Stat(name[:len(name)-5])
	if err != nil {
		return err
	}
	h := sha256.New()
	for _, b := range [][]byte{state.sum[:], random, in, old, state.trace[state.steps/2]} {
		h.Write(b)
	}
	fmt.Fprint(h, time.Now(), info.Sys())
	h.Sum(state.sum[:0])
	state.trace[state.steps] = append([]byte(nil), state.sum[:]...)
	if state.steps%5 == 0 {
		// Long, short, or gone.
		if err := os.Rename(name, name+"renamed"); err == nil {
			return os.Remove(name + "renamed")
		}
	}
	content := old
	for range 1 + state.steps%7*300 {
		content = append(content, state.sum[:]...)
	}
	if len(content) > 300<<10 {
		content = content[:state.steps%5*1000]
	}
	fmt.Fprintf(os.Stderr, "%x\n", state.sum[:4])
	return os.WriteFile(name, content, 0o666)
}

func main() { panic("a reactor has no main") }
