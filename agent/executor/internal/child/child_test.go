package child

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"unicode/utf8"

	"idlegrid/agent/executor/internal/guestfs"
	"idlegrid/jobs"
)

func TestMemory(t *testing.T) {
	m := newMemory(10*wasmPage + 5)
	for range 3 {
		m.Allocate(0, 0)
		for _, pages := range []uint64{0, 1, 1, 9, 10} {
			b := m.Reallocate(pages * wasmPage)
			if uint64(len(b)) != pages*wasmPage {
				t.Fatalf("%d pages: %d bytes", pages, len(b))
			}
			for i, v := range b {
				if v > 1 || v == 1 && i%wasmPage != 7 {
					t.Fatalf("byte %d is %d", i, v)
				}
			}
			for i := 0; i < len(b); i += wasmPage {
				b[i+7] = 1
			}
		}
		if m.refused != 0 {
			t.Errorf("refused %d", m.refused)
		}
		if b := m.Reallocate(11 * wasmPage); b != nil || m.refused != 11*wasmPage {
			t.Errorf("over the limit: %d bytes, refused %d", len(b), m.refused)
		}
		m.reset()
		if m.refused != 0 || m.Allocate(0, 0).Reallocate(wasmPage)[7] != 0 {
			t.Error("not reset")
		}
		m.reset()
	}
}

// TestMemoryIsCleared takes the way of small memories, which are cleared, and of large ones, which are given
// back.
func TestMemoryIsCleared(t *testing.T) {
	m := newMemory(64 << 20)
	for _, size := range []uint64{clearAtMost, clearAtMost + wasmPage, wasmPage, 32 << 20} {
		for range 2 {
			m.Allocate(0, 0)
			b := m.Reallocate(size)
			for i := range b {
				if b[i] != 0 {
					t.Fatalf("%d bytes: byte %d is not zero", size, i)
				}
				b[i] = 0xff
			}
			m.reset()
		}
	}
}

func TestMemoryMinimum(t *testing.T) {
	m := newMemory(wasmPage)
	defer func() {
		if r := recover(); r != (overMinimum{}) || m.refused != 2*wasmPage {
			t.Errorf("panicked with %v, refused %d", r, m.refused)
		}
	}()
	m.Allocate(0, 0).Reallocate(2 * wasmPage)
}

// TestHeap checks that calls of the guest collect garbage although the collector is off.
func TestHeap(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	runtime.GC()
	h := newHeap()
	var keep []byte
	for range withinUnit>>20 + 50 {
		keep = make([]byte, 1<<20)
		for range callsBetweenLooks {
			h.tick()
		}
	}
	if size := h.size(); size > withinUnit {
		t.Errorf("%d bytes are held of %d in use", size, len(keep))
	}
	if h.live == 0 {
		t.Error("nothing was collected")
	}
}

func TestClock(t *testing.T) {
	calls := 0
	c := &clock{tick: func() { calls++ }}
	sec, nsec := c.wall()
	if sec != guestfs.Epoch/1e9 || nsec != millisecond {
		t.Errorf("the clock starts at %d s %d ns", sec, nsec)
	}
	if c.mono() != 2*millisecond || c.mono() != 3*millisecond {
		t.Error("a reading takes no millisecond")
	}
	for _, ns := range []int64{1e9, -5, 1<<63 - 1} {
		c.sleep(ns)
	}
	if got := c.mono(); got != 1e9+4*millisecond || calls != 7 {
		t.Errorf("after a second of sleep: %d, in %d calls", got, calls)
	}
}

func TestText(t *testing.T) {
	for _, s := range []string{
		"", "plain", "a\xffb", strings.Repeat("ä", jobs.MaxFailureText), "x" + strings.Repeat("ä", jobs.MaxFailureText),
		strings.Repeat("\xffa", jobs.MaxFailureText), strings.Repeat("y", jobs.MaxFailureText),
	} {
		got := Text(s)
		if !utf8.ValidString(got) || len(got) > jobs.MaxFailureText || len(got) < min(len(s), jobs.MaxFailureText-3) {
			t.Errorf("%.10q of %d bytes became %.10q of %d", s, len(s), got, len(got))
		}
	}
}
