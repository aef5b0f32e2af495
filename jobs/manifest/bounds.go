package manifest

import (
	"strings"
	"time"
	"unicode/utf8"

	"idlegrid/jobs"
)

// The bounds of a manifest. Every peer checks them, whoever signed.
const (
	// MaxSize bounds an encoded manifest: every peer keeps every live one.
	MaxSize = 16 << 10
	// MaxName bounds a job's name, in bytes.
	MaxName = 64
	// MaxUnits bounds the units of a job. A billion units of a millisecond keep a hundred cores busy for
	// three hours; whoever has more work gives each unit more of it.
	MaxUnits = 1_000_000_000
	// MaxBundle bounds the units of a bundle: a report names all units of a bundle, and this is how many a
	// report may name.
	MaxBundle = 16384
	// MaxMemory is all that a 32-bit WebAssembly module can address.
	MaxMemory = 4 << 30
	// MaxTimeout bounds the running time of one unit.
	MaxTimeout = 24 * time.Hour
	// MinCheckpoint and MaxCheckpoint bound how often a unit's state is saved. DefaultCheckpoint is what a job.yaml
	// without the field means; NoCheckpoint is none at all.
	MinCheckpoint     = time.Second
	MaxCheckpoint     = MaxTimeout
	DefaultCheckpoint = 2 * time.Minute
	NoCheckpoint      = -time.Millisecond
	// MaxRetries bounds how often a failed unit is tried again.
	MaxRetries = 100
	// MaxQuorum bounds how many owners must agree.
	MaxQuorum = 16
	// MaxSuccessCodes bounds how many exit codes count as success.
	MaxSuccessCodes = 64
	// MaxKeep bounds a job's life, from created to expires.
	MaxKeep = 30 * 24 * time.Hour
	// MaxProgram bounds a program, in bytes: it is checked and compiled in memory.
	MaxProgram = 128 << 20
	// MaxBlob bounds every other blob, in bytes. It keeps sums of sizes far from overflow; what a grid
	// really takes is for its admission to say.
	MaxBlob = 1 << 40

	// minKeep is what keep may be at least: less would expire on the way to the agents.
	minKeep = time.Minute
	// page is the unit of WebAssembly memory.
	page = 64 << 10
	// lastSecond is the end of the year 9999, the last that text forms of a time can show.
	lastSecond = 253402300799
)

// check returns the first bound that the manifest breaks.
func (m *Manifest) check() error {
	for _, c := range [...]func() string{
		m.checkWhat, m.checkEnv, m.checkBlobs, m.checkSize, m.checkLimits, m.checkCodes, m.checkTimes,
	} {
		if wrong := c(); wrong != "" {
			return jobs.Errorf(jobs.Invalid, "manifest: %s", wrong)
		}
	}
	return nil
}

func (m *Manifest) checkWhat() string {
	switch {
	case !validName(m.Name):
		return "name: expected " + nameRule
	case m.Submitter.IsZero():
		return "submitter: missing"
	case !validName(m.Runtime):
		return "runtime: expected a word"
	case !validTexts(m.Args):
		return "args: expected UTF-8 text without NUL"
	case m.Combine != nil && !validTexts(m.Combine.Args):
		return "combine.args: expected UTF-8 text without NUL"
	}
	for _, f := range m.Features {
		if !validName(f) {
			return "features: expected words"
		}
	}
	return ""
}

func (m *Manifest) checkEnv() string {
	for i, v := range m.Env {
		if !validEnvName(v.Name) || !validText(v.Value) {
			return "env: expected names without = and UTF-8 text without NUL"
		}
		if i > 0 && m.Env[i-1].Name >= v.Name {
			return "env: expected names in ascending order, each once"
		}
	}
	return ""
}

func (m *Manifest) checkBlobs() string {
	switch {
	case !validBlob(m.Program, MaxProgram):
		return "program: missing or too large"
	case !m.Stdin.IsZero() && !validBlob(m.Stdin, MaxBlob):
		return "stdin: too large"
	case !m.Inputs.IsZero() && !validBlob(m.Inputs, MaxInputList):
		return "inputs: list too large"
	case m.Combine != nil && !validBlob(m.Combine.Program, MaxProgram):
		return "combine.program: missing or too large"
	}
	return ""
}

func (m *Manifest) checkSize() string {
	switch {
	case m.Units < 1 || m.Units > MaxUnits:
		return "units: expected 1 to 1000000000"
	case m.Bundle < 1 || m.Bundle > MaxBundle:
		return "bundle: expected 1 to 16384"
	}
	return ""
}

func (m *Manifest) checkLimits() string {
	switch {
	case m.Quorum < 1 || m.Quorum > MaxQuorum:
		return "quorum: expected 1 to 16"
	case m.Memory < page || m.Memory > MaxMemory || m.Memory%page != 0:
		return "memory: expected a multiple of 64KiB up to 4GiB"
	case m.Timeout < time.Millisecond || m.Timeout > MaxTimeout || m.Timeout%time.Millisecond != 0:
		return "timeout: expected whole milliseconds up to 24h"
	case !validCheckpoint(m.Checkpoint):
		return "checkpoint: expected whole milliseconds from 1s to 24h other than the default, or none"
	case m.Retries > MaxRetries:
		return "retries: expected at most 100"
	}
	return ""
}

// validCheckpoint leaves the default one form, so that equal manifests have equal bytes.
func validCheckpoint(d time.Duration) bool {
	return d == 0 || d == NoCheckpoint ||
		d >= MinCheckpoint && d <= MaxCheckpoint && d%time.Millisecond == 0 && d != DefaultCheckpoint
}

func (m *Manifest) checkCodes() string {
	if n := len(m.SuccessCodes); n < 1 || n > MaxSuccessCodes {
		return "success_codes: expected 1 to 64 exit codes"
	}
	for i := 1; i < len(m.SuccessCodes); i++ {
		if m.SuccessCodes[i-1] >= m.SuccessCodes[i] {
			return "success_codes: expected ascending order, each once"
		}
	}
	return ""
}

func (m *Manifest) checkTimes() string {
	created, expires := m.Created.Unix(), m.Expires.Unix()
	switch {
	case created < 0 || expires > lastSecond || !wholeSecond(m.Created) || !wholeSecond(m.Expires):
		return "created, expires: expected whole seconds from 1970 to 9999"
	case expires <= created || expires-created > int64(MaxKeep/time.Second):
		return "expires: expected at most 30 days after created"
	}
	return ""
}

func wholeSecond(t time.Time) bool { return t.Nanosecond() == 0 }

func validBlob(b jobs.Blob, limit int64) bool {
	return !b.Digest.IsZero() && b.Size >= 0 && b.Size <= limit
}

const nameRule = "1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first"

// validName keeps names safe in shells, file names, tables and logs.
func validName(s string) bool {
	if s == "" || len(s) > MaxName || strings.IndexByte("._-", s[0]) >= 0 {
		return false
	}
	for _, c := range []byte(s) {
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		digit := '0' <= c && c <= '9'
		if !letter && !digit && strings.IndexByte("._-", c) < 0 {
			return false
		}
	}
	return true
}

// validText says what may be an argument: WASI passes arguments and variables as NUL-terminated text.
func validText(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}

func validTexts(texts []string) bool {
	for _, s := range texts {
		if !validText(s) {
			return false
		}
	}
	return true
}

func validEnvName(s string) bool {
	return s != "" && validText(s) && strings.IndexByte(s, '=') < 0
}
