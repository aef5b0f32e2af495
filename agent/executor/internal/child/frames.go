package child

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/tetratelabs/wazero/api"
)

// Modules that went through wasm-opt --asyncify can leave all functions that they are in, and enter them again:
// after asyncify_start_unwind(area) each function that is returned to writes its locals to the area and returns,
// up to the caller of _start; after asyncify_start_rewind(area) the same call of _start ends where it was, at
// the call of grid.checkpoint. The area begins with two words, the address of its first free byte and that of
// its end.
//
// The guest computes nothing in between and uses no other memory. So the area is borrowed: it is the end of the
// guest's memory, whatever lies there; what was there is put aside while the guest is unwound, and is back when
// it goes on. The guest's allocator never sees it.

const (
	// maxFrames bounds the area. A frame takes some dozen bytes. A guest that needs more traps.
	maxFrames  = 4 << 20
	areaHeader = 8
)

// frames is where a guest is with that.
type frames struct {
	state framesState
	area  uint32 // its address
	size  uint32
	stack []byte // the frames, where the guest is unwound
}

type framesState int

const (
	framesNone framesState = iota
	framesUnwinding
	framesRewinding // or about to
)

// restore makes a new instance one whose frames were unwound.
func (f *frames) restore(stack []byte) {
	if len(stack) > 0 {
		f.state, f.stack = framesRewinding, stack
	}
}

// calledCheckpoint is grid.checkpoint. It ends a rewinding, and begins an unwinding if a checkpoint is due.
func (g *guest) calledCheckpoint(ctx context.Context, module api.Module) {
	switch {
	case g.frames.state == framesRewinding:
		must(module, ctx, "asyncify_stop_rewind")
		g.putBack()
		g.frames.state = framesNone
	case g.frames.state == framesNone && g.wanted() && g.savable() && g.borrow():
		memory := g.program.memory.reserved
		binary.LittleEndian.PutUint32(memory[g.frames.area:], g.frames.area+areaHeader)
		binary.LittleEndian.PutUint32(memory[g.frames.area+4:], g.frames.area+g.frames.size)
		must(module, ctx, "asyncify_start_unwind", uint64(g.frames.area))
		g.frames.state = framesUnwinding
	}
}

// must calls a function of the guest that the compiler's pass made. Its error ends the guest.
func must(module api.Module, ctx context.Context, name string, params ...uint64) { //nolint:revive // the module is the receiver
	if _, err := module.ExportedFunction(name).Call(ctx, params...); err != nil {
		panic(fmt.Errorf("%s: %w", name, err))
	}
}

// borrow puts aside what lies in the area. It reports false where there is no memory for it.
func (g *guest) borrow() bool {
	used := g.program.memory.used
	size := min(used, maxFrames)
	if size == 0 {
		return false
	}
	g.frames.area, g.frames.size = uint32(used-size), uint32(size)
	g.program.stack = append(g.program.stack[:0], g.area()...)
	return true
}

func (g *guest) area() []byte {
	return g.program.memory.reserved[g.frames.area:][:g.frames.size]
}

// putBack makes the area what it was.
func (g *guest) putBack() { copy(g.area(), g.program.stack) }

// calls runs a guest that is unwound and wound again for each of its checkpoints to its end.
func (g *guest) calls(ctx context.Context, module api.Module) ending {
	start := module.ExportedFunction(StartFunction)
	for {
		if g.frames.state == framesRewinding {
			if err := g.rewind(ctx, module); err != nil {
				return endingOf(err)
			}
		}
		_, err := start.Call(ctx)
		if err != nil && g.frames.state == framesUnwinding {
			e := endingOf(err)
			e.text = fmt.Sprintf("while all functions were left for a checkpoint, of which the frames may take %d bytes: %s", g.frames.size, e.text)
			return e
		}
		if err != nil || g.frames.state == framesNone {
			return endingOf(err)
		}
		if err := g.unwound(ctx, module); err != nil {
			return endingOf(err)
		}
	}
}

// unwound makes the checkpoint of a guest that has left all its functions.
func (g *guest) unwound(ctx context.Context, module api.Module) error {
	if g.frames.state == framesRewinding {
		return fmt.Errorf("the program did not come back to its call of grid.checkpoint")
	}
	if _, err := module.ExportedFunction("asyncify_stop_unwind").Call(ctx); err != nil {
		return err
	}
	area := g.area()
	end := binary.LittleEndian.Uint32(area)
	if end < g.frames.area+areaHeader || end > g.frames.area+g.frames.size {
		return fmt.Errorf("the frames end at %#x, outside of their area at %#x", end, g.frames.area)
	}
	g.frames.stack = append([]byte(nil), area[areaHeader:end-g.frames.area]...)
	g.putBack()
	g.keep.make(g.frames.stack)
	g.frames.state = framesRewinding
	return nil
}

// rewind makes the next call of _start one that goes on.
func (g *guest) rewind(ctx context.Context, module api.Module) error {
	if !g.borrow() || len(g.frames.stack) > int(g.frames.size)-areaHeader {
		return fmt.Errorf("no memory for %d bytes of frames", len(g.frames.stack))
	}
	area := g.area()
	binary.LittleEndian.PutUint32(area, g.frames.area+areaHeader+uint32(len(g.frames.stack)))
	binary.LittleEndian.PutUint32(area[4:], g.frames.area+g.frames.size)
	copy(area[areaHeader:], g.frames.stack)
	_, err := module.ExportedFunction("asyncify_start_rewind").Call(ctx, uint64(g.frames.area))
	return err
}
