package child

import (
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"sync/atomic"
	"time"
)

// Sizes of this process's own heap, in bytes. The guest's memory is no part of it.
const (
	betweenUnits = 32 << 20  // above it, garbage is collected after a unit
	withinUnit   = 192 << 20 // above it, garbage is collected where the guest calls out
	mostOver     = 768 << 20 // this much over what it takes to be ready and all that a guest may write, the process gives up

	// A compilation takes 30 times the size of a program; a hostile program makes wazero's decoder take
	// whatever there is.
	compileBase   = 1 << 30
	compileFactor = 48
)

// callsBetweenLooks is how often a guest calls out before the heap is looked at.
const callsBetweenLooks = 1024

// ExitHeap is the exit code of a process whose own heap outgrew its bound: a guest may ask for tables or
// paths of any size, and wazero would serve it; see also compileBase.
const ExitHeap = 71

// heap keeps this process's own heap small while the collector is off.
type heap struct {
	calls  int
	live   uint64 // after the last collection
	sample []metrics.Sample
}

func newHeap() *heap {
	return &heap{sample: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}}
}

func (h *heap) size() uint64 {
	metrics.Read(h.sample)
	return h.sample[0].Value.Uint64()
}

// tick is called by the guest's own goroutine whenever the guest calls out.
func (h *heap) tick() {
	if h.calls++; h.calls%callsBetweenLooks == 0 {
		h.collect(withinUnit)
	}
}

// collect collects garbage if the heap has grown by more than bound since the last time. The caller is the
// only goroutine that enters a guest, so that none is in machine code now.
func (h *heap) collect(bound uint64) {
	if h.size() < h.live+bound {
		return
	}
	runtime.GC()
	h.live = h.size()
}

// guard ends the process when its heap is beyond a bound. It looks by the clock: that needs no call of the
// guest and no stop of the guest.
type guard struct{ bound atomic.Uint64 }

// startGuard starts a guard that watches until the process ends.
func startGuard(bound uint64) *guard {
	g := new(guard)
	g.bound.Store(bound)
	go g.watch()
	return g
}

func (g *guard) watch() {
	h := newHeap()
	for range time.Tick(50 * time.Millisecond) {
		if size, bound := h.size(), g.bound.Load(); size > bound {
			fmt.Fprintf(os.Stderr, "executor: needs %d MiB beside the guest's memory, the limit is %d MiB\n", size>>20, bound>>20)
			os.Exit(ExitHeap)
		}
	}
}
