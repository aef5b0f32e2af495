package child

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
)

// stepping is a module that exports grid_step, has the given sections of globals and start, and two functions, of
// which the second has no results.
func stepping(globals, start string) []byte {
	return []byte("\x00asm\x01\x00\x00\x00\x01\x08\x02\x60\x00\x01\x7f\x60\x00\x00\x03\x03\x02\x00\x01\x05\x03\x01\x00\x01" + globals +
		"\x07\x0d\x01\x09grid_step\x00\x00" + start + "\x0a\x09\x02\x04\x00\x41\x01\x0b\x02\x00\x0b")
}

func TestExpose(t *testing.T) {
	const allKinds = "\x06\x24\x05" + // i32, a constant one, i64, f32, f64
		"\x7f\x01\x41\x05\x0b" + "\x7f\x00\x41\x05\x0b" + "\x7e\x01\x42\x7f\x0b" +
		"\x7d\x01\x43\x00\x00\x80\x3f\x0b" + "\x7c\x01\x44\x00\x00\x00\x00\x00\x00\x00\x00\x0b"
	tests := map[string]struct {
		wasm    []byte
		globals []string
		start   bool
		fault   string
	}{
		"no globals":  {wasm: stepping("", "")},
		"all kinds":   {wasm: stepping(allKinds, ""), globals: []string{"idlegrid.global.0", "idlegrid.global.2", "idlegrid.global.3", "idlegrid.global.4"}},
		"start":       {wasm: stepping("", "\x08\x01\x01"), start: true},
		"a reference": {wasm: stepping("\x06\x06\x01\x70\x01\xd0\x70\x0b", ""), fault: "global of type 0x70"},
		"no step":     {wasm: []byte(noop), fault: "neither exports grid_step"},
		"no module":   {wasm: []byte("\x00asm"), fault: "cut short"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			before := slices.Clone(tt.wasm)
			e := expose(tt.wasm)
			if !slices.Equal(tt.wasm, before) {
				t.Error("the stored bytes changed")
			}
			if tt.fault != "" {
				if e.fault == nil || !strings.Contains(e.fault.Error(), tt.fault) || !slices.Equal(e.wasm, before) {
					t.Errorf("fault %v, expected %q and the module as it was", e.fault, tt.fault)
				}
				return
			}
			if e.fault != nil || !slices.Equal(e.globals, tt.globals) || e.start != tt.start {
				t.Fatalf("globals %q, start %v, %v", e.globals, e.start, e.fault)
			}
			r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter())
			m, err := r.Instantiate(t.Context(), e.wasm)
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range e.globals {
				if m.ExportedGlobal(name) == nil {
					t.Errorf("no global %s", name)
				}
			}
			if (m.ExportedFunction(exposedStart) != nil) != tt.start {
				t.Error("the start function is not exported, or nothing is")
			}
		})
	}
}

// hasLarge reports whether there may be a number above 16,383.
func hasLarge(b []byte) bool {
	for i := 1; i < len(b); i++ {
		if b[i-1]&b[i]&0x80 != 0 {
			return true
		}
	}
	return false
}

// FuzzExpose checks that whatever bytes end in an answer, and that a module that is valid is valid afterwards.
func FuzzExpose(f *testing.F) {
	f.Add(stepping("\x06\x06\x01\x7f\x01\x41\x05\x0b", "\x08\x01\x01"))
	f.Add([]byte(noop))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x07\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1000 {
			return
		}
		e := expose(b)
		if e.fault != nil || strings.Contains(string(b), "idlegrid") || hasLarge(b) {
			return // names of our own, or numbers that wazero takes all memory for
		}
		ctx := context.Background()
		r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(16))
		defer r.Close(ctx)
		if _, err := r.CompileModule(ctx, b); err != nil {
			return
		}
		if _, err := r.CompileModule(ctx, e.wasm); err != nil {
			t.Errorf("a valid module became an invalid one: %v", err)
		}
	})
}
