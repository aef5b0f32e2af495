// Package cgroup says where in the tree of Linux's cgroups v2 this agent stands. It reads only, and compiles everywhere:
// a system without such a tree is an error.
package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
)

// The parts into which an agent divides a cgroup that it was given: itself, and the children that run units. With
// controllers a cgroup has either processes or parts.
const (
	AgentPart = "agent"
	UnitsPart = "units"
)

// Own returns the folder of the cgroup v2 that this process is in, and that of the whole tree, on a system with this
// root folder.
func Own(root string) (folder, tree string, err error) {
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return "", "", err
	}
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return "", "", err
	}
	mount := mountOf(string(mounts))
	for line := range strings.Lines(string(groups)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok && mount != "" {
			return filepath.Join(root, mount, path), filepath.Join(root, mount), nil
		}
	}
	return "", "", errors.New("no cgroup v2")
}

// Ours returns the folder of the cgroup that has the agent and, where it divided it, its units; and that of the tree.
func Ours(root string) (folder, tree string, err error) {
	folder, tree, err = Own(root)
	if above, name := filepath.Split(folder); err == nil && name == AgentPart {
		if _, divided := os.Stat(filepath.Join(above, UnitsPart)); divided == nil {
			folder = filepath.Clean(above)
		}
	}
	return folder, tree, err
}

// mountOf returns where the cgroup v2 is mounted, from a mountinfo: see proc(5).
func mountOf(mountinfo string) string {
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		if fields := strings.Fields(before); strings.HasPrefix(after, "cgroup2 ") && len(fields) > 4 {
			return fields[4]
		}
	}
	return ""
}
