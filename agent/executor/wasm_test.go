package executor_test

import (
	"bytes"
	"strings"
)

// Opcodes and types of the hand-made modules.
const (
	opUnreachable = 0x00
	opLoop        = 0x03
	opIf          = 0x04
	opEnd         = 0x0b
	opF64Const    = 0x44
	opBr          = 0x0c
	opBrIf        = 0x0d
	opCall        = 0x10
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opDrop        = 0x1a
	opI32Load     = 0x28
	opI32Store    = 0x36
	opI32Ne       = 0x47
	blockVoid     = 0x40
	typeI32       = 0x7f
	typeF64       = 0x7c
)

// Types of functions.
const (
	typeNothing = iota // () -> ()
	typeTakeI32        // (i32) -> ()
	typeGiveI32        // () -> i32
	typeTakeF64        // (f64) -> ()
)

// module builds a small module: one memory of the given pages, imports, and functions, of which the first is
// exported under the given name.
type module struct {
	imports  [][2]string // functions of one i32 parameter
	imports2 []function  // further ones; export is MODULE.NAME
	pages    uint64
	export   string // empty: _start
	kind     byte   // the first function's type
	body     []byte // without the final end
	more     []function
	globals  [][]byte // each its type, mutability and initial value
}

// function is an exported function.
type function struct {
	export string
	kind   byte
	body   []byte // without the final end
}

func (m module) bytes() []byte {
	if m.export == "" {
		m.export = "_start"
	}
	b := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, content ...[]byte) {
		body := bytes.Join(content, nil)
		b = append(append(append(b, id), leb(uint64(len(body)))...), body...)
	}
	section(1, []byte{4, 0x60, 0, 0, 0x60, 1, typeI32, 0, 0x60, 0, 1, typeI32, 0x60, 1, typeF64, 0})
	imported := uint64(len(m.imports) + len(m.imports2))
	imports := leb(imported)
	for _, i := range m.imports {
		imports = append(append(append(imports, name(i[0])...), name(i[1])...), 0, typeTakeI32)
	}
	for _, i := range m.imports2 {
		module, field, _ := strings.Cut(i.export, ".")
		imports = append(append(append(imports, name(module)...), name(field)...), 0, i.kind)
	}
	section(2, imports)
	functions := append([]function{{m.export, m.kind, m.body}}, m.more...)
	count := leb(uint64(len(functions)))
	kinds, code := bytes.Clone(count), bytes.Clone(count)
	exports := append(append(leb(uint64(len(functions)+1)), name("memory")...), 2, 0)
	for i, f := range functions {
		kinds = append(kinds, f.kind)
		exports = append(append(append(exports, name(f.export)...), 0), leb(imported+uint64(i))...)
		body := append(append([]byte{0}, f.body...), opEnd)
		code = append(append(code, leb(uint64(len(body)))...), body...)
	}
	section(3, kinds)
	section(4, []byte{1, 0x70, 0, 0}) // an empty table of functions
	section(5, []byte{1, 0}, leb(m.pages))
	if len(m.globals) > 0 {
		section(6, leb(uint64(len(m.globals))), bytes.Join(m.globals, nil))
	}
	section(7, exports)
	section(10, code)
	return b
}

func name(s string) []byte { return append(leb(uint64(len(s))), s...) }

// leb encodes a number as unsigned LEB128.
func leb(n uint64) []byte {
	var b []byte
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}

// Bodies of guests.
var (
	bodyTrap  = []byte{opUnreachable}
	bodySpin  = []byte{opLoop, blockVoid, opBr, 0, opEnd}
	bodyExit5 = []byte{opI32Const, 5, opCall, 0}
	// bodyGrow grows its memory by 16 pages again and again until it is refused, and then ends.
	bodyGrow = []byte{
		opLoop, blockVoid, opI32Const, 16, opMemoryGrow, 0, opI32Const, 0x7f, opI32Ne, opBrIf, 0, opEnd,
	}
	// bodyTables grows its table by a million entries for ever.
	bodyTables = []byte{
		opLoop, blockVoid, 0xd0, 0x70, opI32Const, 0x80, 0x80, 0xc0, 0x00, 0xfc, 15, 0, opDrop, opBr, 0, opEnd,
	}
	bodyDone = []byte{opI32Const, 1}
	procExit = [2]string{"wasi_snapshot_preview1", "proc_exit"}
)

// bodyUsed traps unless the first and the last word of its memory, and a word of a page that it grows, are
// zero, and then writes to them.
func bodyUsed(pages byte) []byte {
	last := constant(uint32(pages)<<16 - 4)
	grown := constant(uint32(pages)<<16 + 8)
	body := []byte{opI32Const, 1, opMemoryGrow, 0, opDrop}
	for _, at := range [][]byte{constant(0), last, grown} {
		body = append(append(body, at...), opI32Load, 2, 0, opIf, blockVoid, opUnreachable, opEnd)
		body = append(append(body, at...), opI32Const, 1, opI32Store, 2, 0)
	}
	return body
}

// constant pushes a number, whose encoding is signed.
func constant(n uint32) []byte {
	b := []byte{opI32Const}
	for n >= 0x40 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(b, byte(n))
}
