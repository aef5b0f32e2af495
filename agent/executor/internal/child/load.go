package child

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"idlegrid/agent/executor/internal/guestfs"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// compileWorkers is how many functions are compiled at once.
const compileWorkers = 2

// program is what a child runs units of.
type program struct {
	runtime wazero.Runtime
	module  wazero.CompiledModule
	memory  *memory
	heap    *heap
	guard   *guard
	tree    *guestfs.Tree
	chunks  guestfs.Chunks
	limits  *gridv1.ExecutorLimits
	stdin   string
	digest  jobs.Digest
	exposed exposed
	way     Way
	due     *atomic.Int32 // whether a checkpoint is
	page    []byte        // for checkpoints
	stack   []byte        // for checkpoints: what is in the place of the guest's frames
	guest   *guest        // the one that runs
}

// load compiles the program, or takes it compiled from the cache, and looks at its inputs. Its error is a
// fault of the program or the inputs. The program is nil if only compiling was asked for.
func load(ctx context.Context, l *gridv1.ExecutorLoad) (*program, error) {
	wasm, err := os.ReadFile(l.GetProgram())
	if err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	digest := jobs.DigestOf(wasm)
	if want, err := jobs.DigestFromBytes(l.GetDigest()); err != nil || digest != want {
		return nil, fmt.Errorf("program: its bytes are not those of digest %x", l.GetDigest())
	}
	p := &program{limits: l.GetLimits(), stdin: l.GetStdin(), digest: digest, heap: newHeap(), memory: newMemory(l.GetMemoryBytes())}
	p.guard = startGuard(compileBase + compileFactor*uint64(len(wasm)))
	ctx = experimental.WithCompilationWorkers(ctx, compileWorkers)
	if err := p.compile(ctx, wasm, l.GetCache()); err != nil {
		return nil, fmt.Errorf("program: %w", err)
	}
	if l.GetCompileOnly() {
		return nil, nil
	}
	if p.tree, err = guestfs.NewTree(inputs(l)); err != nil {
		return nil, err
	}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, p.runtime); err != nil {
		return nil, err
	}
	if _, err := gridBuilder(p.runtime, p).Instantiate(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// ready settles the heap before the first unit. From here on only heap collects; the explicit collection also
// ends one that may be under way.
func (p *program) ready() {
	debug.SetGCPercent(-1)
	runtime.GC()
	p.heap.live = p.heap.size()
	written := p.limits.GetStdout() + p.limits.GetStderr() + 2*p.limits.GetOutBytes() // in /out and in /checkpoint
	p.guard.bound.Store(p.heap.live + uint64(written) + mostOver)
}

func inputs(l *gridv1.ExecutorLoad) []guestfs.Input {
	inputs := make([]guestfs.Input, len(l.GetInputs()))
	for i, f := range l.GetInputs() {
		inputs[i] = guestfs.Input{Path: f.GetPath(), Source: f.GetSource(), Size: f.GetSize()}
	}
	return inputs
}

// compile fills runtime and module. If it does not work with the cache, the cache may be damaged: then it is
// deleted and the program compiled without.
func (p *program) compile(ctx context.Context, wasm []byte, dir string) error {
	p.exposed = expose(wasm)
	wasm = p.exposed.wasm
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return err
	}
	if p.compileWith(ctx, wasm, wazero.NewRuntimeConfig().WithCompilationCache(cache)) == nil {
		return nil
	}
	if err := p.compileWith(ctx, wasm, wazero.NewRuntimeConfig()); err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

func (p *program) compileWith(ctx context.Context, wasm []byte, conf wazero.RuntimeConfig) error {
	r := wazero.NewRuntimeWithConfig(ctx, conf)
	m, err := r.CompileModule(ctx, wasm)
	if err == nil {
		err = Check(ctx, r, m)
	}
	if err != nil {
		return errors.Join(err, r.Close(ctx))
	}
	p.runtime, p.module = r, m
	p.way, _ = WayOf(m)
	return nil
}
