package executor

import (
	"os"
	"slices"
	"time"

	"idlegrid/agent/executor/internal/child"
	"idlegrid/agent/executor/internal/host"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// marker is the environment variable that makes this program an executor child. Its value is the child's
// priority.
const marker = "IDLEGRID_EXECUTOR"

const (
	markerLow  = "low"
	markerIdle = "idle"
)

// Main must be called first by the main function of every program that runs units. It returns at once,
// unless this process is an executor child: then it never returns.
func Main() {
	switch os.Getenv(marker) {
	case markerLow:
		child.Serve(host.Input(), os.Stdout, host.Low)
	case markerIdle:
		child.Serve(host.Input(), os.Stdout, host.Idle)
	}
}

// Program is what units are run of. It must not change once it was given to a Pool; two Programs with the
// same content are one.
type Program struct {
	Path   string      // of the module
	Digest jobs.Digest // of the module: other bytes are not run
	Memory uint64      // bytes of linear memory that a unit may have
	Inputs []File      // what /in shows
	Stdin  string      // path of the file that is standard input; empty: none
	Limits Limits
}

// File is a file in /in.
type File struct {
	Path   string // as the guest sees it: clean, slash-separated, relative to /in
	Source string // where its bytes lie on this machine
	Size   int64
}

// Limits bound what one unit may write. A zero field means the default.
type Limits struct {
	Stdout   int64 // bytes
	Stderr   int64 // bytes
	OutBytes int64 // of all files in /out
	OutFiles int64 // files and folders in /out
}

// The default limits.
const (
	DefaultStdout   = 16 << 20
	DefaultStderr   = 1 << 20
	DefaultOutBytes = 64 << 20
	DefaultOutFiles = 1000
)

func (l Limits) withDefaults() Limits {
	set := func(v *int64, to int64) {
		if *v <= 0 {
			*v = to
		}
	}
	set(&l.Stdout, DefaultStdout)
	set(&l.Stderr, DefaultStderr)
	set(&l.OutBytes, DefaultOutBytes)
	set(&l.OutFiles, DefaultOutFiles)
	return l
}

// same reports whether a child that is loaded with p can run units of q.
func (p *Program) same(q *Program) bool {
	if p == nil || q == nil || p == q {
		return p == q
	}
	return p.Path == q.Path && p.Digest == q.Digest && p.Memory == q.Memory && p.Stdin == q.Stdin &&
		p.Limits == q.Limits && slices.Equal(p.Inputs, q.Inputs)
}

// Unit is one run of a program.
type Unit struct {
	Args    []string          // without the program's name, which is "program"
	Env     []manifest.EnvVar // all of it: nothing of this process's environment is seen
	Seed    [32]byte          // of the random numbers
	Timeout time.Duration     // 0: none. Starting a child is no part of it, nor is the time in which it is frozen.
	// Succeeded says which exit codes are a success; nil: 0 is.
	Succeeded func(code uint32) bool

	// Resume is what the unit goes on from; nil: it begins. If it cannot, Run returns a *ResumeError. One without
	// files begins, too, and says only from which Sequence and CPU to count on.
	Resume *Checkpoint
	// Save takes the unit's checkpoints, one about every Interval and one as soon as it can be made after Now
	// receives or is closed; nil: none is made. A program may be unable to give any. The unit waits for Save when it
	// has much to say.
	Save     func(Checkpoint)
	Interval time.Duration // 0: only when Now says so
	Now      <-chan struct{}
	Folder   string                 // where the files of checkpoints are written
	Progress func(fraction float64) // what the program says of itself, from 0 to 1; nil: nobody listens
	// Used is told every now and then how much CPU time the unit's child has had, all its life, where the system says
	// so; nil: nobody listens.
	Used func(time.Duration)
	// Frozen is told that the unit does not go on, or does: when it starts, and whenever Pool.Allow changes that. It
	// must return at once and not call the Pool. nil: nobody listens.
	Frozen func(frozen bool)
}

// Result is what became of a unit. A unit that failed has an outcome too: what it wrote until then. With an error there
// is nothing but the CPU time that the unit used until it was ended.
type Result struct {
	Outcome record.Outcome
	Failure jobs.Failure // zero: the unit succeeded
	Times   jobs.Times
	Memory  uint64 // bytes of linear memory that it came to have; 0: not known, since its executor was lost
}

// UnusableError says that no unit of the program can run, here or anywhere, and how each would fail.
type UnusableError struct{ Failure jobs.Failure }

// Error returns the failure's text.
func (e *UnusableError) Error() string { return "unusable program: " + e.Failure.String() }

// wazeroVersion is the version in go.mod; a test compares them. The build information has it too, but not in
// every kind of build, and the name stands in signed reports.
const wazeroVersion = "1.12.0"

// Runtime returns the name and version of what runs the units, such as "wazero 1.12.0".
func Runtime() string { return "wazero " + wazeroVersion }
