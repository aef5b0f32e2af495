package policy

import (
	"os"
	"path/filepath"
	"runtime"
)

// OwnerFile is the owner's file and LocalFile that of this PC's administrator, both in the state folder.
const (
	OwnerFile = "owner.yaml"
	LocalFile = "policy.yaml"
)

// Paths are where the layers are.
type Paths struct {
	Machine []string // files that end in .yaml, and folders of such files; the later overrule the earlier
	Local   string
	Owner   string
}

// DefaultPaths returns where the layers are on this system for an agent with this state folder.
func DefaultPaths(state string) Paths {
	machine := "/etc/idlegrid"
	switch runtime.GOOS {
	case "windows":
		data := os.Getenv("ProgramData")
		if data == "" {
			data = `C:\ProgramData`
		}
		machine = filepath.Join(data, "idlegrid", "policy")
	case "darwin":
		machine = "/Library/Application Support/idlegrid/policy"
	}
	return Paths{
		Machine: []string{filepath.Join(machine, "policy.yaml"), filepath.Join(machine, "policy.d")},
		Local:   filepath.Join(state, LocalFile), Owner: filepath.Join(state, OwnerFile),
	}
}
