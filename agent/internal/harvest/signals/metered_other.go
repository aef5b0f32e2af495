//go:build !linux

package signals

import (
	"context"
	"time"
)

// metered is not known here: on Windows only the WinRT interface has it, macOS tells programs with a bundle only.
type metered struct{}

func newMetered(Options, func()) *metered { return &metered{} }

func (*metered) run(context.Context) {}

func (*metered) at(now time.Time) Reading[bool] { return Reading[bool]{At: now, None: true} }
