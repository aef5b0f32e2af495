package host

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestCgroupMount(t *testing.T) {
	const v1 = "30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n"
	for mounts, want := range map[string]string{
		"": "",
		v1: "",
		v1 + "31 24 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n":               "/sys/fs/cgroup/unified",
		"29 23 0:25 / /sys/fs/cgroup rw,nosuid shared:8 master:3 - cgroup2 cgroup2 rw,nsdelegate\n": "/sys/fs/cgroup",
	} {
		if got := cgroupMount(mounts); got != want {
			t.Errorf("it is mounted at %q, expected %q, by\n%s", got, want, mounts)
		}
	}
}

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
