package e2e_test

import "slices"

// counter returns a hand-made program, which compiles in no time. It counts down from spin, a billion being a
// good half second, and prints its first argument. Where the first two arguments begin alike it prints to
// standard error and exits with code 3.
func counter(spin int64) []byte {
	const (
		argv, text = 1024, 4096 // where args_get writes
		size, iov  = 4, 16
		exitCode   = 3
	)
	first, second := load(argv+4), load(argv+8)
	write := func(fd int64) []byte {
		return slices.Concat(i32(fd), i32(iov), i32(1), i32(32), call(2), []byte{opDrop})
	}
	return wasm(slices.Concat(
		i32(0), i32(size), call(0), []byte{opDrop},
		i32(argv), i32(text), call(1), []byte{opDrop},
		store(iov, first),
		store(iov+4, slices.Concat(load(size), first, i32(text), []byte{opI32Sub, opI32Sub})),
		[]byte{opI64Const}, signed(spin), []byte{opLocalSet, 0},
		[]byte{opLoop, typeVoid, opLocalGet, 0, opI64Const, 1, opI64Sub, opLocalTee, 0},
		[]byte{opI64Const, 0, opI64GreaterS, opBrIf, 0, opEnd},
		first, []byte{opI32Load8U, 0, 0}, second, []byte{opI32Load8U, 0, 0}, []byte{opI32Eq, opIf, typeVoid},
		write(2), i32(exitCode), call(3), []byte{opEnd},
		write(1),
	))
}

const (
	opLoop, opIf, opEnd, opBrIf, opCall     = 0x03, 0x04, 0x0b, 0x0d, 0x10
	opDrop, opLocalGet, opLocalSet          = 0x1a, 0x20, 0x21
	opLocalTee, opI32Load, opI32Load8U      = 0x22, 0x28, 0x2d
	opI32Store, opI32Const, opI64Const      = 0x36, 0x41, 0x42
	opI32Eq, opI64GreaterS, opI32Sub        = 0x46, 0x55, 0x6b
	opI64Sub, typeVoid, typeI32, typeI64    = 0x7d, 0x40, 0x7f, 0x7e
	sectionTypes, sectionImports            = 1, 2
	sectionFunctions, sectionMemory         = 3, 5
	sectionExports, sectionCode, typeNumber = 7, 10, 0x60
)

// wasm makes a module of one function, _start, with one i64 local and the imports that counter calls.
func wasm(body []byte) []byte {
	imported := func(name string, typ byte) []byte {
		return slices.Concat(text("wasi_snapshot_preview1"), text(name), []byte{0, typ})
	}
	code := slices.Concat([]byte{1, 1, typeI64}, body, []byte{opEnd})
	return slices.Concat(
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(sectionTypes, []byte{4, typeNumber, 0, 0}, function(2, 1), function(4, 1), function(1, 0)),
		section(sectionImports, []byte{4}, imported("args_sizes_get", 1), imported("args_get", 1),
			imported("fd_write", 2), imported("proc_exit", 3)),
		section(sectionFunctions, []byte{1, 0}),
		section(sectionMemory, []byte{1, 0, 1}),
		section(sectionExports, []byte{2}, text("memory"), []byte{2, 0}, text("_start"), []byte{0, 4}),
		section(sectionCode, []byte{1}, unsigned(len(code)), code),
	)
}

func section(id byte, parts ...[]byte) []byte {
	content := slices.Concat(parts...)
	return slices.Concat([]byte{id}, unsigned(len(content)), content)
}

// function returns the type of one that takes and returns numbers of type i32.
func function(takes, returns int) []byte {
	i32s := func(n int) []byte { return append(unsigned(n), slices.Repeat([]byte{typeI32}, n)...) }
	return slices.Concat([]byte{typeNumber}, i32s(takes), i32s(returns))
}

func text(s string) []byte { return append(unsigned(len(s)), s...) }

func i32(n int64) []byte { return append([]byte{opI32Const}, signed(n)...) }

func call(f byte) []byte { return []byte{opCall, f} }

// load pushes the word at an address, and store sets it.
func load(at int64) []byte { return append(i32(at), opI32Load, 2, 0) }

func store(at int64, value []byte) []byte {
	return slices.Concat(i32(at), value, []byte{opI32Store, 2, 0})
}

// unsigned and signed encode a number as LEB128.
func unsigned(n int) []byte {
	var b []byte
	for ; n >= 0x80; n >>= 7 {
		b = append(b, byte(n)|0x80)
	}
	return append(b, byte(n))
}

func signed(n int64) []byte {
	var b []byte
	for ; n < -0x40 || n >= 0x40; n >>= 7 {
		b = append(b, byte(n&0x7f)|0x80)
	}
	return append(b, byte(n&0x7f))
}
