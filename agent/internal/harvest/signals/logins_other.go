//go:build !linux && !windows && !darwin

package signals

import (
	"context"
	"time"
)

// logins are not known on this system: it is unsupported, so that somebody is always here.
type logins struct{}

func newLogins(Options, func()) *logins { return &logins{} }

func (*logins) run(context.Context) {}

func (*logins) missing() bool { return false }

func (*logins) at(time.Time) ([]login, bool) { return nil, false }
