package executor_test

import (
	"os"
	"strings"
	"testing"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

func TestInspect(t *testing.T) {
	guest, err := os.ReadFile(goGuest(t).Path)
	if err != nil {
		t.Fatal(err)
	}
	imports := func(module_, name string) []byte { return module{imports: [][2]string{{module_, name}}}.bytes() }
	noop := string(module{}.bytes())
	tests := []struct {
		name, wasm, text, hint string
	}{
		{name: "a Go program", wasm: string(guest)},
		{name: "no import", wasm: noop},
		{name: "a good import", wasm: string(imports("wasi_snapshot_preview1", "proc_exit"))},
		{name: "empty", text: "is no WebAssembly module (it is empty)", hint: "GOOS=wasip1"},
		{name: "an ELF file", wasm: "\x7fELF\x02\x01\x01\x00\x00", text: `it starts with "\x7fELF\x02\x01\x01\x00"`, hint: "WASI preview 1"},
		{name: "three bytes", wasm: "\x00as", text: "is no WebAssembly module"},
		{name: "a component", wasm: "\x00asm\x0d\x00\x01\x00", text: "component (WASI preview 2)", hint: "wasm32-wasip1"},
		{name: "a future version", wasm: "\x00asm\x02\x00\x00\x00", text: "unknown version (02 00 00 00)"},
		{name: "no version", wasm: "\x00asm", text: "unknown version"},
		{name: "cut short", wasm: noop[:len(noop)-3], text: "section 7 is longer than the file", hint: "may have been cut"},
		{name: "cut before a size", wasm: "\x00asm\x01\x00\x00\x00\x01", text: "section 1 is longer than the file"},
		{name: "a list of too many", wasm: "\x00asm\x01\x00\x00\x00\x02\x05\xff\xff\xff\x7f_", text: "section 1 holds 268435455 things in 5 bytes"},
		{name: "an unknown instruction", wasm: string(module{body: []byte{0xff}}.bytes()), text: "is no valid WebAssembly module", hint: "WebAssembly 2.0"},
		{name: "nonsense", wasm: noop + "\xff\xff\xff", text: "is no valid WebAssembly module"},
		{name: "env", wasm: string(imports("env", "emscripten_sleep")), text: "imports env.emscripten_sleep, which nobody provides", hint: "wasi-libc"},
		{name: "Go for browsers", wasm: string(imports("gojs", "runtime.wasmExit")), text: "imports gojs.runtime.wasmExit", hint: "GOOS=wasip1"},
		{name: "unknown module", wasm: string(imports("grid", "next")), text: "imports grid.next", hint: "checkpoint, without"},
		{name: "other module", wasm: string(imports("host", "next")), text: "imports host.next", hint: "only WASI preview 1"},
		{name: "other parameters of grid", wasm: string(imports("grid", "checkpoint")), text: "imports grid.checkpoint with other parameters", hint: "checkpoint, without"},
		{name: "steps", wasm: string(module{export: "grid_step", kind: typeGiveI32, body: bodyDone}.bytes())},
		{name: "steps of nothing", wasm: string(module{export: "grid_step"}.bytes()), text: "grid_step with other parameters or results than () -> i32", hint: "0 while there is more"},
		{name: "strange initialisation", wasm: string(module{export: "grid_step", kind: typeGiveI32, body: bodyDone, more: []function{{"_initialize", typeGiveI32, bodyDone}}}.bytes()), text: "_initialize with parameters or results", hint: "reactor"},
		{name: "unknown function of WASI", wasm: string(imports("wasi_snapshot_preview1", "sock_open")), text: "imports wasi_snapshot_preview1.sock_open", hint: "no such function"},
		{name: "other parameters", wasm: string(imports("wasi_snapshot_preview1", "fd_read")), text: "imports wasi_snapshot_preview1.fd_read with other parameters", hint: "current toolchain"},
		{name: "preview 2 in a core module", wasm: string(imports("wasi:cli/exit", "exit")), text: "imports wasi:cli/exit.exit", hint: "preview 2"},
		{name: "wasm-bindgen", wasm: string(imports("wbg", "__wbg_log")), text: "imports wbg.__wbg_log", hint: "wasm32-wasip1"},
		{name: "no start", wasm: string(module{export: "run"}.bytes()), text: "exports no function _start", hint: "main function"},
		{name: "a library", wasm: string(module{export: "_initialize"}.bytes()), text: "exports no function _start", hint: "c-shared"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := executor.Inspect([]byte(tt.wasm))
			if tt.text == "" {
				if err != nil {
					t.Errorf("inspect: %v", err)
				}
				return
			}
			if jobs.KindOf(err) != jobs.Invalid || !strings.Contains(err.Error(), tt.text) || !strings.Contains(jobs.HintOf(err), tt.hint) {
				t.Errorf("%v error %v (%s), expected %q (%s)", jobs.KindOf(err), err, jobs.HintOf(err), tt.text, tt.hint)
			}
		})
	}
}

// TestSupport checks which way of checkpoints a module has.
func TestSupport(t *testing.T) {
	checkpoint := []function{{"grid.checkpoint", typeNothing, nil}}
	start := function{"_start", typeNothing, nil}
	asyncify := []function{
		{"asyncify_start_unwind", typeTakeI32, nil},
		{"asyncify_stop_unwind", typeNothing, nil},
		{"asyncify_start_rewind", typeTakeI32, nil},
		{"asyncify_stop_rewind", typeNothing, nil},
	}
	step := module{export: "grid_step", kind: typeGiveI32, body: bodyDone}
	tests := map[string]struct {
		module module
		way    executor.Way
		advice string
	}{
		"files":                {module{}, executor.WayFiles, ""},
		"step":                 {step, executor.WayStep, ""},
		"call":                 {module{imports2: checkpoint, more: asyncify}, executor.WayCall, ""},
		"a call without pass":  {module{imports2: checkpoint}, executor.WayFiles, "wasm-opt -O2 --asyncify --pass-arg=asyncify-imports@grid.checkpoint IN -o OUT"},
		"half a pass":          {module{imports2: checkpoint, more: asyncify[1:]}, executor.WayFiles, "wasm-opt"},
		"asyncify for nothing": {module{more: asyncify}, executor.WayFiles, ""},
		"step and start":       {module{export: step.export, kind: step.kind, body: step.body, more: []function{start}}, executor.WayStep, "_start, too"},
		"step and call":        {module{export: step.export, kind: step.kind, body: step.body, imports2: checkpoint, more: asyncify}, executor.WayStep, "no effect"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := executor.Inspect(tt.module.bytes())
			if err != nil || got.Way != tt.way || !strings.Contains(got.Advice, tt.advice) || (tt.advice == "") != (got.Advice == "") {
				t.Errorf("supports %+v, %v; expected %s with %q", got, err, tt.way, tt.advice)
			}
		})
	}
}

func TestRuntime(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	name, version, _ := strings.Cut(executor.Runtime(), " ")
	if !strings.Contains(string(mod), "github.com/tetratelabs/"+name+" v"+version+" ") &&
		!strings.Contains(string(mod), "github.com/tetratelabs/"+name+" v"+version+"\n") {
		t.Errorf("runtime %q is not the one of go.mod", executor.Runtime())
	}
}
