//go:build !linux && !windows

package service

import (
	"context"
	"log/slog"
	"runtime"

	"idlegrid/jobs"
)

// Watch refuses: sleep is not seen on this system. A machine that slept is noticed afterwards, by its clock.
func Watch(context.Context, *slog.Logger, Handler) error {
	return jobs.Errorf(jobs.Unsupported, "sleep and shutdown are not seen on %s", runtime.GOOS)
}
