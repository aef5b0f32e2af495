//go:build !linux && !windows && !darwin

package host

import (
	"fmt"
	"os"
	"runtime"
)

// Group is where the children of one pool stand: here, anywhere.
type Group struct{}

// OpenGroup returns a group that cannot freeze anything: this system is not supported.
func OpenGroup(string, Priority) *Group { return &Group{} }

// String says that children cannot be frozen.
func (g *Group) String() string { return "nothing: not supported on " + runtime.GOOS }

// Join takes a child in. The child sees to it alone that it ends with this process: it does when its standard input
// does.
func (g *Group) Join(*os.Process) (*Seat, error) { return &Seat{}, nil }

// Close does nothing.
func (g *Group) Close() error { return nil }

// Seat is one child's place in a group.
type Seat struct{}

// Freeze refuses.
func (s *Seat) Freeze() error {
	return fmt.Errorf("freezing executors is not supported on %s", runtime.GOOS)
}

// Thaw does nothing.
func (s *Seat) Thaw() error { return nil }

// Frozen says no.
func (s *Seat) Frozen() (bool, error) { return false, nil }

// Limit does nothing.
func (s *Seat) Limit(uint64) error { return nil }

// Leave does nothing.
func (s *Seat) Leave() error { return nil }
