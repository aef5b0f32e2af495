package signals

import (
	"os"
	"path/filepath"
	"strings"

	"idlegrid/agent/internal/cgroup"
)

// maxGroups bounds the cgroups that are looked at.
const maxGroups = 512

// othersWaited adds up what the cgroups waited that stand beside this agent's own and beside those above it: all programs
// but ours, each once. The machine's own count would not do: while a blob is written it is mostly this agent that waits.
func othersWaited(root string) (sum Waited, ok bool) {
	ours, tree, err := cgroup.Ours(root)
	if err != nil {
		return Waited{}, false
	}
	left := maxGroups
	for dir := ours; strings.HasPrefix(dir, tree+"/"); dir = filepath.Dir(dir) {
		beside, err := os.ReadDir(filepath.Dir(dir))
		if err != nil {
			continue // it has ended, or is not ours to see
		}
		for _, e := range beside {
			if !e.IsDir() || e.Name() == filepath.Base(dir) || left == 0 {
				continue
			}
			left--
			if w, known := waitedIn(filepath.Join(filepath.Dir(dir), e.Name())); known {
				sum.Memory, sum.Disk, ok = sum.Memory+w.Memory, sum.Disk+w.Disk, true
			}
		}
	}
	return sum, ok
}

// waitedIn returns what one cgroup waited. One that has ended meanwhile, and any of a kernel without these counts, says
// nothing.
func waitedIn(dir string) (Waited, bool) {
	memory, ok := pressureIn(filepath.Join(dir, "memory.pressure"))
	disk, also := pressureIn(filepath.Join(dir, "io.pressure"))
	return Waited{Memory: memory.total, Disk: disk.total}, ok && also
}
