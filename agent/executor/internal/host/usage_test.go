//go:build linux || windows

package host_test

import (
	"os"
	"testing"
	"time"

	"idlegrid/agent/executor/internal/host"
)

func TestCPUOf(t *testing.T) {
	before, ok := host.CPUOf(os.Getpid())
	if !ok {
		t.Fatal("the system does not say what this process has used")
	}
	own := host.CPUTime()
	for sum := 0; host.CPUTime()-own < 300*time.Millisecond; sum++ {
		_ = sum * sum
	}
	after, ok := host.CPUOf(os.Getpid())
	if grown := after - before; !ok || grown < 200*time.Millisecond || after > host.CPUTime()+time.Second {
		t.Errorf("it used %s, and %s after 300 ms of work", before, after)
	}
	if used, ok := host.CPUOf(1 << 30); ok {
		t.Errorf("a process that there is not has used %s", used)
	}
}
