package child

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// What expose makes a module export: the mutable globals by their indices, and the start function.
const (
	exposedGlobal = "idlegrid.global."
	exposedStart  = "idlegrid.start"
)

// Rewriting names the way in which expose rewrites; it changes with it.
const Rewriting = "1"

// The sections of a module that expose looks at, and the kinds of what is imported and exported.
const (
	sectionImport = 2
	sectionGlobal = 6
	sectionExport = 7
	sectionStart  = 8

	kindFunction = 0
	kindTable    = 1
	kindMemory   = 2
	kindGlobal   = 3

	wasmHeader = 8
)

// exposed is a module that was rewritten so that its state can be read and set.
type exposed struct {
	wasm    []byte
	globals []string // the names of the mutable globals
	start   bool     // its start function is exported, and no longer called by itself
	fault   error    // why its state cannot be kept; nil: it can
}

// expose rewrites a module whose state is kept, by its exports and imports, in memory: wazero sets no global that
// is not exported, and a start function would run once more in an instance that goes on from a checkpoint. Other
// modules stay as they are. What it says of a module that wazero does not take is without meaning.
func expose(wasm []byte) exposed {
	m := moduleParts{exposed: exposed{wasm: wasm}}
	if err := m.parse(); err != nil {
		return exposed{wasm: wasm, fault: fmt.Errorf("the module's sections: %w", err)}
	}
	if !m.kept {
		return exposed{wasm: wasm, fault: errors.New("the module neither exports grid_step nor imports grid.checkpoint")}
	}
	if m.fault != nil {
		return exposed{wasm: wasm, fault: m.fault}
	}
	m.rewrite()
	return m.exposed
}

// moduleParts is what of a module matters to expose.
type moduleParts struct {
	exposed

	kept    bool // by its exports and imports it is one whose state is kept
	imports uint64
	exports []byte // the section's list without the count
	count   uint64 // of exports
	mutable []uint64
	startAt uint64 // the start function
}

// sections calls do with each section: its ID, all its bytes, and its content.
func sections(wasm []byte, do func(id byte, whole, content []byte) error) error {
	if len(wasm) < wasmHeader {
		return errShort
	}
	for b := wasm[wasmHeader:]; len(b) > 0; {
		r := bytesReader{b: b[1:]}
		content := r.bytes(r.number())
		if r.err != nil {
			return r.err
		}
		whole := b[:len(b)-len(r.b)]
		if err := do(b[0], whole, content); err != nil {
			return err
		}
		b = r.b
	}
	return nil
}

func (m *moduleParts) parse() error {
	return sections(m.wasm, func(id byte, _, content []byte) error {
		r := bytesReader{b: content}
		switch id {
		case sectionImport:
			m.parseImports(&r)
		case sectionGlobal:
			m.parseGlobals(&r)
		case sectionExport:
			m.parseExports(&r)
		case sectionStart:
			m.start, m.startAt = true, r.number()
		}
		return r.err
	})
}

func (m *moduleParts) parseImports(r *bytesReader) {
	for n := r.number(); n > 0 && r.err == nil; n-- {
		module, name := r.bytes(r.number()), r.bytes(r.number())
		switch r.byte() {
		case kindFunction:
			r.number()
			m.kept = m.kept || string(module) == GridModule && string(name) == checkpointFunction
		case kindTable:
			r.byte()
			r.limits()
		case kindMemory:
			r.limits()
		case kindGlobal:
			r.bytes(2)
			m.imports++
		default:
			r.fail("an import of an unknown kind")
		}
	}
}

func (m *moduleParts) parseGlobals(r *bytesReader) {
	n := r.number()
	for i := uint64(0); i < n && r.err == nil; i++ {
		kind, mutable := r.byte(), r.byte()
		r.constant()
		if mutable == 0 {
			continue
		}
		if kind < typeF64 || kind > typeI32 {
			m.fault = fmt.Errorf("the module has a mutable global of type %#x, expected numbers of 32 and 64 bits", kind)
		}
		m.mutable = append(m.mutable, m.imports+i)
	}
}

func (m *moduleParts) parseExports(r *bytesReader) {
	m.count = r.number()
	m.exports = r.b
	for i := uint64(0); i < m.count && r.err == nil; i++ {
		name := r.bytes(r.number())
		if r.byte() == kindFunction && string(name) == StepFunction {
			m.kept = true
		}
		r.number()
	}
}

// rewrite makes the module anew with further exports and without its start section.
func (m *moduleParts) rewrite() {
	list := append([]byte(nil), m.exports...)
	add := func(name string, kind byte, index uint64) {
		list = append(binary.AppendUvarint(list, uint64(len(name))), name...)
		list = binary.AppendUvarint(append(list, kind), index)
		m.count++
	}
	for _, index := range m.mutable {
		name := fmt.Sprint(exposedGlobal, index)
		add(name, kindGlobal, index)
		m.globals = append(m.globals, name)
	}
	if m.start {
		add(exposedStart, kindFunction, m.startAt)
	}
	content := append(binary.AppendUvarint(nil, m.count), list...)
	exports := append(binary.AppendUvarint([]byte{sectionExport}, uint64(len(content))), content...)
	out := append([]byte(nil), m.wasm[:wasmHeader]...)
	done := false
	// It was parsed, so that this does not fail. A second list of exports, which wazero would refuse, stays.
	_ = sections(m.wasm, func(id byte, whole, _ []byte) error {
		switch {
		case id == sectionExport && !done:
			out, done = append(out, exports...), true
		case id == sectionExport || id != sectionStart:
			out = append(out, whole...)
		}
		return nil
	})
	if !done { // It imports grid.checkpoint and exports nothing: wazero's check will say that it cannot start.
		return
	}
	m.wasm = out
}

// Value types of numbers: from f64 down to i32.
const (
	typeF64 = 0x7c
	typeI32 = 0x7f
)

var errShort = errors.New("cut short")

// bytesReader reads what a module is made of. After an error it reads zeros.
type bytesReader struct {
	b   []byte
	err error
}

func (r *bytesReader) fail(text string) {
	if r.err == nil {
		r.err = errors.New(text)
	}
	r.b = nil
}

func (r *bytesReader) bytes(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		r.fail(errShort.Error())
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *bytesReader) byte() byte {
	if b := r.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// number reads an unsigned number of at most 32 bits, in LEB128.
func (r *bytesReader) number() uint64 {
	n, width := binary.Uvarint(r.b)
	if width <= 0 || n > math.MaxUint32 {
		r.fail("a number that is none")
		return 0
	}
	r.b = r.b[width:]
	return n
}

func (r *bytesReader) limits() {
	if hasMax := r.byte()&1 != 0; hasMax {
		r.number()
	}
	r.number()
}

// skipNumber skips a number of any size in LEB128.
func (r *bytesReader) skipNumber() {
	for r.byte()&0x80 != 0 && r.err == nil {
		continue
	}
}

// constant skips an expression that gives a global its first value.
func (r *bytesReader) constant() {
	for r.err == nil {
		switch op := r.byte(); op {
		case 0x0b: // end
			return
		case 0x41, 0x42, 0x23, 0xd0, 0xd2: // i32.const, i64.const, global.get, ref.null, ref.func
			r.skipNumber()
		case 0x43: // f32.const
			r.bytes(4)
		case 0x44: // f64.const
			r.bytes(8)
		case 0xfd: // v128.const
			r.skipNumber()
			r.bytes(16)
		default:
			r.fail(fmt.Sprintf("a global's first value is made by instruction %#x", op))
		}
	}
}
