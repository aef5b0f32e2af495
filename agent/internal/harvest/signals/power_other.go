//go:build !linux && !windows && !darwin

package signals

import "time"

// power is not known on this system: it is unsupported.
type power struct{}

func newPower(Options) *power { return &power{} }

func (*power) read(time.Time) (Reading[Power], error) { return Reading[Power]{}, nil }
