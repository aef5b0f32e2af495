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

// Inspect returns an error, of kind jobs.Invalid and with a hint, unless wasm is a module that can run here:
// it is valid, exports _start, and imports nothing but functions of WASI preview 1. It runs nothing.
//
// It is for the caller's own programs: a hostile module can make wazero's decoder take all memory. What a
// stranger sent goes through Pool.Prepare, which decodes it in a child.
func Inspect(wasm []byte) (err error) {
	if err := inspectHeader(wasm); err != nil {
		return err
	}
	if err := inspectSections(wasm[len(wasmMagic)+len(wasmModule):]); err != nil {
		return err
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer func() { err = errors.Join(err, r.Close(ctx)) }()
	m, err := r.CompileModule(ctx, wasm)
	if err != nil {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "is no valid WebAssembly module: %w", err),
			"it must keep to WebAssembly 2.0, without threads, exceptions, tail calls and garbage collection")
	}
	return explain(child.Check(ctx, r, m), m)
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
	if err == nil {
		return nil
	}
	missing := (*child.MissingImportError)(nil)
	if errors.As(err, &missing) {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%w", err), "%s", importHint(missing))
	}
	if !errors.Is(err, child.ErrNoStart) {
		return err
	}
	hint := "a program needs a main function, and must be linked as a command"
	if _, ok := m.ExportedFunctions()["_initialize"]; ok {
		hint = "it is built as a library (reactor): build it as a command, for Go without -buildmode=c-shared"
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%w", err), "%s", hint)
}

// importHint says what the people who import such a thing most likely did.
func importHint(m *child.MissingImportError) string {
	switch {
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
	return "only WASI preview 1 (wasi_snapshot_preview1) is provided"
}
