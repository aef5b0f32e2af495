package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

func TestOurs(t *testing.T) {
	const (
		v1      = "30 24 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu\n"
		hybrid  = v1 + "31 24 0:27 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
		unified = "29 23 0:25 / /sys/fs/cgroup rw,nosuid shared:8 master:3 - cgroup2 cgroup2 rw,nsdelegate\n"
	)
	for name, c := range map[string]struct {
		mounts, groups string
		folder         string // that is there
		want, tree     string // empty: an error
	}{
		"no mounts":              {},
		"version 1 only":         {mounts: v1, groups: "1:cpu:/a\n"},
		"mounted, and not in it": {mounts: unified, groups: "1:cpu:/a\n"},
		"both versions":          {hybrid, "1:cpu:/a\n0::/\n", "", "sys/fs/cgroup/unified", "sys/fs/cgroup/unified"},
		"a service":              {unified, "0::/system.slice/grid.service\n", "", "sys/fs/cgroup/system.slice/grid.service", "sys/fs/cgroup"},
		"a service that divided its cgroup": {
			unified, "0::/system.slice/grid.service/agent\n", "sys/fs/cgroup/system.slice/grid.service/units",
			"sys/fs/cgroup/system.slice/grid.service", "sys/fs/cgroup",
		},
		"another one of that name": {unified, "0::/agent\n", "", "sys/fs/cgroup/agent", "sys/fs/cgroup"},
	} {
		root := t.TempDir()
		for file, text := range map[string]string{"mountinfo": c.mounts, "cgroup": c.groups} {
			if err := os.MkdirAll(filepath.Join(root, "proc/self"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, "proc/self", file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Join(root, c.folder), 0o700); err != nil {
			t.Fatal(err)
		}
		folder, tree, err := Ours(root)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: %s in %s, expected an error", name, folder, tree)
			}
			continue
		}
		if err != nil || folder != filepath.Join(root, c.want) || tree != filepath.Join(root, c.tree) {
			t.Errorf("%s: %s in %s, %v", name, folder, tree, err)
		}
	}
}
