package executor

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"idlegrid/agent/executor/internal/child"
	"idlegrid/jobs"

	"github.com/tetratelabs/wazero"
)

// How a WebAssembly module begins, and what follows in a module of the core standard and in a component.
const (
	wasmMagic        = "\x00asm"
	wasmModule       = "\x01\x00\x00\x00"
	wasmComponentEnd = "\x01\x00" // after two bytes of version
)

// Way is how checkpoints of a program are made.
type Way string

// The ways: from files in /checkpoint, from the memory between calls of grid_step, from the memory at calls of
// grid.checkpoint.
const (
	WayFiles Way = "files"
	WayStep  Way = "step"
	WayCall  Way = "call"
)

// Support says what a program supports.
type Support struct {
	Way    Way
	Advice string // what its author may have overlooked, in a sentence; empty: nothing
}

// asyncifyAdvice is for those who call grid.checkpoint in a module where it has no effect.
const asyncifyAdvice = "its calls of grid.checkpoint have no effect before: wasm-opt -O2 --asyncify " +
	"--pass-arg=asyncify-imports@grid.checkpoint IN -o OUT"

// Inspect says what a module supports. It returns an error, of kind jobs.Invalid and with a hint, unless it can
// run here: it is valid, exports _start or grid_step, and imports nothing but functions of WASI preview 1 and
// of grid. It runs nothing.
//
// It is for the caller's own programs: a hostile module can make wazero's decoder take all memory. What a
// stranger sent goes through Pool.Prepare, which decodes it in a child.
func Inspect(wasm []byte) (s Support, err error) {
	if err := inspectHeader(wasm); err != nil {
		return Support{}, err
	}
	if err := inspectSections(wasm[len(wasmMagic)+len(wasmModule):]); err != nil {
		return Support{}, err
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer func() { err = errors.Join(err, r.Close(ctx)) }()
	m, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return Support{}, jobs.WithHint(jobs.Errorf(jobs.Invalid, "is no valid WebAssembly module: %w", err),
			"it must keep to WebAssembly 2.0, without threads, exceptions, tail calls and garbage collection")
	}
	if err := child.Check(ctx, r, m); err != nil {
		return Support{}, explain(err, m)
	}
	return support(m), nil
}

func support(m wazero.CompiledModule) Support {
	way, inVain := child.WayOf(m)
	switch {
	case way == child.WayCall:
		return Support{Way: WayCall}
	case way == child.WayFiles && inVain:
		return Support{Way: WayFiles, Advice: asyncifyAdvice}
	case way == child.WayFiles:
		return Support{Way: WayFiles}
	}
	s := Support{Way: WayStep}
	if m.ExportedFunctions()[child.StartFunction] != nil {
		s.Advice = "it exports _start, too, which is not called: grid_step counts; for Go, build with -buildmode=c-shared"
	} else if inVain {
		s.Advice = "its calls of grid.checkpoint have no effect: grid_step counts"
	}
	return s
}

func inspectHeader(wasm []byte) error {
	if !bytes.HasPrefix(wasm, []byte(wasmMagic)) {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "is no WebAssembly module (%s)", beginning(wasm)),
			"build it for WebAssembly with WASI preview 1, such as GOOS=wasip1 GOARCH=wasm go build")
	}
	version := wasm[len(wasmMagic):min(len(wasm), len(wasmMagic)+len(wasmModule))]
	switch {
	case string(version) == wasmModule:
		return nil
	case len(version) == len(wasmModule) && string(version[2:]) == wasmComponentEnd:
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "is a WebAssembly component (WASI preview 2), expected a core module"),
			"build it for WASI preview 1, such as the Rust target wasm32-wasip1")
	}
	return jobs.Errorf(jobs.Invalid, "is WebAssembly of an unknown version (% x), expected version 1", version)
}

// inspectSections follows the sections from the first to the end of the file, so that a file that was cut or
// garbled says so.
func inspectSections(b []byte) error {
	for n := 1; len(b) > 0; n++ {
		size, width := binary.Uvarint(b[1:])
		if width <= 0 || size > uint64(len(b)-1-width) {
			return jobs.WithHint(jobs.Errorf(jobs.Invalid, "is no valid WebAssembly module: section %d is longer than the file", n),
				"the file may have been cut: build or copy it again")
		}
		content, rest := b[1+width:][:size], b[1+width:][size:]
		// Most sections are lists, and begin with a count of things of at least a byte each.
		count, width := binary.Uvarint(content)
		if isList(b[0]) && (width <= 0 || count > size) {
			return jobs.Errorf(jobs.Invalid, "is no valid WebAssembly module: section %d holds %d things in %d bytes", n, count, size)
		}
		b = rest
	}
	return nil
}

// isList reports whether sections of that ID are lists: all but custom sections, the start section and the
// count of data segments.
func isList(id byte) bool { return id != 0 && id != 8 && id != 12 }

func beginning(b []byte) string {
	const shown = 8
	if len(b) == 0 {
		return "it is empty"
	}
	return fmt.Sprintf("it starts with %q", b[:min(len(b), shown)])
}

// explain adds the hint to what Check found.
func explain(err error, m wazero.CompiledModule) error {
	missing := (*child.MissingImportError)(nil)
	if errors.As(err, &missing) {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%w", err), "%s", importHint(missing))
	}
	hint := "a program needs a main function, and must be linked as a command"
	switch {
	case errors.Is(err, child.ErrStep):
		hint = "grid_step returns 0 while there is more to do, and 1 when all is done"
	case errors.Is(err, child.ErrInit):
		hint = "it must be linked as a reactor, for Go with -buildmode=c-shared"
	case !errors.Is(err, child.ErrNoStart):
		return err
	case m.ExportedFunctions()[child.InitializeFunction] != nil:
		hint = "it is built as a library (reactor): export grid_step, or build it as a command, for Go without -buildmode=c-shared"
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%w", err), "%s", hint)
}

// importHint says what the people who import such a thing most likely did.
func importHint(m *child.MissingImportError) string {
	switch {
	case m.Module == child.GridModule:
		return "grid has checkpoint, without parameters and results, and progress with one f64"
	case m.Known:
		return "build it with a current toolchain for WASI preview 1"
	case m.Module == "env":
		return "a function named env.… is one that the linker did not find, or belongs to Emscripten: build with wasi-libc (wasi-sdk), and without Emscripten"
	case m.Module == "go" || m.Module == "gojs":
		return "it is built for GOOS=js: build it with GOOS=wasip1 GOARCH=wasm"
	case m.Module == "wasi_unstable":
		return "it is built for an early WASI: build it with a current toolchain for WASI preview 1"
	case strings.HasPrefix(m.Module, "wasi:"):
		return "it is built for WASI preview 2: build it for WASI preview 1"
	case strings.HasPrefix(m.Module, "wbg") || strings.HasPrefix(m.Module, "__wbindgen"):
		return "it is built for browsers with wasm-bindgen: build it for wasm32-wasip1"
	case m.Module == "wasi_snapshot_preview1":
		return "WASI preview 1 has no such function: sockets beyond it and threads are not provided"
	}
	return "only WASI preview 1 (wasi_snapshot_preview1) and grid are provided"
}
