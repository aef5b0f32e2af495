//go:build !linux && !windows && !darwin

package session

import (
	"context"
	"log/slog"
	"runtime"

	"idlegrid/jobs"
)

func openDesktop(context.Context, *slog.Logger) (desktop, error) {
	return nil, jobs.Errorf(jobs.Unsupported, "what happens in a session is not known on %s", runtime.GOOS)
}
