//go:build !linux

package signals

import "time"

// temperature has no sensor here that a service could read: Windows has WMI's thermal zones, which most machines leave
// empty, macOS tells only programs with cgo.
type temperature struct{}

func newTemperature(Options) *temperature { return &temperature{} }

func (*temperature) read(now time.Time) (Reading[float64], error) {
	return Reading[float64]{At: now, None: true}, nil
}
