package child

import (
	"context"
	"math"
	"time"

	"idlegrid/agent/executor/internal/wire"
	gridv1 "idlegrid/proto/grid/v1"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// GridModule is the module of our own functions.
const GridModule = "grid"

const (
	checkpointFunction = "checkpoint"
	progressFunction   = "progress"
)

// progressPause is how often progress is told at most.
const progressPause = 250 * time.Millisecond

// gridBuilder returns the module of our own functions, for guests of the program.
func gridBuilder(r wazero.Runtime, p *program) wazero.HostModuleBuilder {
	checkpoint := api.GoModuleFunc(func(ctx context.Context, module api.Module, _ []uint64) {
		p.heap.tick()
		if p.way == WayCall {
			p.guest.calledCheckpoint(ctx, module)
		}
	})
	progress := api.GoModuleFunc(func(_ context.Context, _ api.Module, stack []uint64) {
		p.heap.tick()
		p.guest.progress.tell(api.DecodeF64(stack[0]))
	})
	return r.NewHostModuleBuilder(GridModule).
		NewFunctionBuilder().WithGoModuleFunction(checkpoint, nil, nil).Export(checkpointFunction).
		NewFunctionBuilder().WithGoModuleFunction(progress, []api.ValueType{api.ValueTypeF64}, nil).Export(progressFunction)
}

// progress tells the parent what the guest says of its progress, and not too often.
type progress struct {
	out  *wire.Writer
	next time.Time
	err  error // of the pipe to the parent
}

func (p *progress) tell(fraction float64) {
	now := time.Now()
	if math.IsNaN(fraction) || p.err != nil || now.Before(p.next) {
		return
	}
	p.next = now.Add(progressPause)
	fraction = min(max(fraction, 0), 1)
	p.err = p.out.Send(&gridv1.ExecutorReply{Reply: &gridv1.ExecutorReply_Progress{Progress: fraction}})
}
