// Package signals sees what the owner of this PC does, and how the machine is: one small type a signal, each with what
// every system needs in files of its own.
//
// What is not known counts against working: a reading that is missing or older than Stale reads as "the owner is here".
// Nothing that is seen here leaves the PC.
package signals

import "time"

// Stale is how old a reading may be. Older ones say nothing.
const Stale = 5 * time.Second

// Reading is what one signal said last.
type Reading[T any] struct {
	Value T
	At    time.Time // when it was read; zero: never
	// None says that this machine has no such thing, a desktop no battery for instance, and that it is no reason
	// against working.
	None bool
}

// Known reports whether the reading says something at this time.
func (r Reading[T]) Known(now time.Time) bool {
	return r.None || !r.At.IsZero() && now.Sub(r.At) <= Stale && r.At.Sub(now) <= Stale
}

// Observation is all that is seen of the machine and its owner at one moment.
type Observation struct {
	Sessions    Reading[[]Session] // everybody who is logged in, at the machine or from afar
	Others      Reading[float64]   // cores that others use: the whole machine's less this agent's and its units'
	Memory      Reading[Memory]
	Disk        Reading[float64]  // share of the last seconds in which others waited for the disk, 0 to 1
	Power       Reading[Power]    // None: no battery
	Temperature Reading[float64]  // °C of the hottest processor sensor; None: no sensor
	Presenting  Reading[bool]     // a full-screen program or a presentation
	Programs    Reading[[]string] // those of the programs asked for that run, by the names that were asked for
	Metered     Reading[bool]     // the network costs by the byte
}

// Kind is how a session reaches the machine.
type Kind string

// The kinds of sessions.
const (
	Graphical Kind = "graphical" // at the machine's own screen
	Terminal  Kind = "terminal"  // at the machine, without a graphical desktop
	Remote    Kind = "remote"    // ssh, remote desktop
)

// Session is one interactive session.
type Session struct {
	ID     string // the system's name of it
	User   string // the system's number of its user
	Kind   Kind
	Locked bool
	// Input is when a key or the pointer was last used in it, or its terminal. Zero: nobody says, which reads as "just
	// now" unless the session is locked.
	Input time.Time
	// Reported is when whoever sees its input said so last. One older than Stale reads as zero Input.
	Reported time.Time
}

// Memory is what is left of the machine's memory.
type Memory struct {
	Total     int64   // bytes
	Available int64   // bytes that programs can have without swapping
	Pressure  float64 // share of the last ten seconds in which somebody waited for memory, 0 to 1; 0 where the system does not say
}

// Power is where the machine's power comes from.
type Power struct {
	Battery bool    // it runs on its battery
	Charge  float64 // of the battery, 0 to 1
}
