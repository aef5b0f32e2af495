package manifest

import (
	"time"

	"idlegrid/jobs"
)

// Version is the highest Manifest.MinVersion that this build knows how to run. It is the protocol version
// that an agent of this build speaks.
const Version = 1

// RuntimeWasm runs a WebAssembly module with WASI preview 1. It is the only runtime so far.
const RuntimeWasm = "wasm"

// Manifest describes a job. Its encoded bytes are what the submitter signs and their hash is the job's ID,
// so it never changes once it was built.
type Manifest struct {
	Name         string
	Submitter    jobs.KeyID
	Runtime      string
	Program      jobs.Blob
	Args         []string // without the program's own name; templates, see Command
	Env          []EnvVar // sorted by name; values are templates
	Stdin        jobs.Blob
	Inputs       jobs.Blob // an encoded list of Input
	Units        uint64
	Bundle       uint32 // units recorded together
	Quorum       uint32 // owners that must report the same outcome
	Memory       uint64 // bytes, a whole number of WebAssembly pages
	Timeout      time.Duration
	Checkpoint   time.Duration // see CheckpointEvery; 0: the default, NoCheckpoint: none
	Retries      uint32
	SuccessCodes []uint32 // ascending
	Combine      *Combine // nil: nothing to combine
	Created      time.Time
	Expires      time.Time // after it every peer refuses the job
	MinVersion   uint32
	Features     []string
}

// EnvVar is one environment variable.
type EnvVar struct {
	Name  string
	Value string
}

// Combine says how the units' results become one. It runs once, at the submitter's, and knows no unit: its
// args are taken as they are.
type Combine struct {
	Program jobs.Blob
	Args    []string
}

// Blobs returns the blobs that the manifest names: program, stdin, the list of inputs and the combine
// program, each once. The inputs themselves are named by the list only.
func (m *Manifest) Blobs() []jobs.Blob {
	all := []jobs.Blob{m.Program, m.Stdin, m.Inputs}
	if m.Combine != nil {
		all = append(all, m.Combine.Program)
	}
	var blobs []jobs.Blob
	seen := make(map[jobs.Blob]bool)
	for _, b := range all {
		if !b.IsZero() && !seen[b] {
			seen[b] = true
			blobs = append(blobs, b)
		}
	}
	return blobs
}

// CheckpointEvery returns how often a unit's state is saved; 0: never. With more than one owner to report an outcome
// it never is, since one owner's poisoned state would come to the others.
func (m *Manifest) CheckpointEvery() time.Duration {
	switch {
	case m.Checkpoint == NoCheckpoint || m.Quorum > 1:
		return 0
	case m.Checkpoint == 0:
		return DefaultCheckpoint
	}
	return m.Checkpoint
}

// Succeeded reports whether a unit that ended with this code counts as a success.
func (m *Manifest) Succeeded(exitCode uint32) bool {
	for _, code := range m.SuccessCodes {
		if code == exitCode {
			return true
		}
	}
	return false
}

// Supported returns an error of kind jobs.Unsupported when the manifest asks for something that this build
// cannot do. Such a manifest is valid: it is kept and passed on, and never run here.
func (m *Manifest) Supported() error {
	switch {
	case m.MinVersion > Version:
		return jobs.Errorf(jobs.Unsupported, "job %s needs version %d of the grid, this is version %d",
			m.Name, m.MinVersion, Version)
	case m.Runtime != RuntimeWasm:
		return jobs.Errorf(jobs.Unsupported, "job %s needs the runtime %q, there is only %q",
			m.Name, m.Runtime, RuntimeWasm)
	case m.Quorum != 1:
		return jobs.Errorf(jobs.Unsupported, "job %s needs %d equal outcomes a unit: not built yet",
			m.Name, m.Quorum)
	case len(m.Features) > 0:
		return jobs.Errorf(jobs.Unsupported, "job %s needs the feature %q: not in this version",
			m.Name, m.Features[0])
	}
	for _, text := range m.templates() {
		if _, err := expand(text, 0); err != nil {
			return jobs.Errorf(jobs.Unsupported, "job %s: %q %w", m.Name, text, err)
		}
	}
	return nil
}
