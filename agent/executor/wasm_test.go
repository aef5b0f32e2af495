package executor_test

import "bytes"

// Opcodes and types of the hand-made modules.
const (
	opUnreachable = 0x00
	opLoop        = 0x03
	opIf          = 0x04
	opEnd         = 0x0b
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
)

// module builds a small module: one memory of the given pages, imports, and one function without
// parameters, exported under the given name.
type module struct {
	imports [][2]string // functions of one i32 parameter
	pages   uint64
	export  string // empty: _start
	body    []byte // without the final end
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
	// Types: no parameters, and one i32.
	section(1, []byte{2, 0x60, 0, 0, 0x60, 1, typeI32, 0})
	imports := leb(uint64(len(m.imports)))
	for _, i := range m.imports {
		imports = append(append(append(imports, name(i[0])...), name(i[1])...), 0, 1)
	}
	section(2, imports)
	section(3, []byte{1, 0})
	section(4, []byte{1, 0x70, 0, 0}) // an empty table of functions
	section(5, []byte{1, 0}, leb(m.pages))
	section(7, leb(2), name("memory"), []byte{2, 0}, name(m.export), []byte{0}, leb(uint64(len(m.imports))))
	code := append(append([]byte{0}, m.body...), opEnd)
	section(10, leb(1), leb(uint64(len(code))), code)
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
