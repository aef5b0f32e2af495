package child

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"

	"idlegrid/agent/executor/internal/wire"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
)

// noop is a module with one page of memory and an empty _start.
const noop = "\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x05\x03\x01\x00\x01" +
	"\x07\x13\x02\x06memory\x02\x00\x06_start\x00\x00\x0a\x04\x01\x02\x00\x0b"

func loadNoop(tb testing.TB) *program {
	tb.Helper()
	dir := tb.TempDir()
	path := filepath.Join(dir, "noop.wasm")
	if err := os.WriteFile(path, []byte(noop), 0o600); err != nil {
		tb.Fatal(err)
	}
	digest := jobs.DigestOf([]byte(noop))
	p, err := load(context.Background(), &gridv1.ExecutorLoad{
		Program: path, Digest: digest[:], Cache: filepath.Join(dir, "cache"), MemoryBytes: 256 << 20,
		Limits: &gridv1.ExecutorLimits{Stdout: 1 << 20, Stderr: 1 << 20, OutBytes: 1 << 20, OutFiles: 10},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// BenchmarkUnit is a unit that does nothing, without the pipes.
func BenchmarkUnit(b *testing.B) {
	p := loadNoop(b)
	out := wire.NewWriter(io.Discard)
	r := &gridv1.ExecutorRun{Seed: make([]byte, 32)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.run(b.Context(), r, out); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInstance is nothing but an instance of a module that does nothing, with our memory and with
// wazero's.
func BenchmarkInstance(b *testing.B) {
	p := loadNoop(b)
	bench := func(ctx context.Context, reset func()) func(*testing.B) {
		return func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m, err := p.runtime.InstantiateModule(ctx, p.module, wazero.NewModuleConfig().WithName(""))
				if err != nil {
					b.Fatal(err)
				}
				if err := m.Close(ctx); err != nil {
					b.Fatal(err)
				}
				reset()
			}
		}
	}
	b.Run("ours", bench(experimental.WithMemoryAllocator(b.Context(), p.memory), p.memory.reset))
	b.Run("wazero", bench(b.Context(), func() {}))
}
