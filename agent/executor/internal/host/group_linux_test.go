package host

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestGroupSaysWhy: where a cgroup cannot be had, signals do, and the reason is told.
func TestGroupSaysWhy(t *testing.T) {
	g := OpenGroup(t.TempDir(), Idle) // a folder that is none
	if got := g.String(); !strings.HasPrefix(got, "SIGSTOP, SCHED_IDLE (") || !strings.Contains(got, "cgroup.freeze") {
		t.Errorf("it yields by %s", got)
	}
	if got := OpenGroup("", Low).String(); got != "SIGSTOP, nice 5" {
		t.Errorf("it yields by %s", got)
	}
	if err := OpenGroup(filepath.Join(t.TempDir(), "none"), Idle).Close(); err != nil {
		t.Error(err)
	}
}
