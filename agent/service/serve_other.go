//go:build !windows

package service

import (
	"context"

	"idlegrid/jobs"
)

// Serve refuses: only the service manager of Windows wants more of a daemon than to run.
func Serve(context.Context, Service, func(context.Context) error) error {
	return jobs.WithHint(jobs.Errorf(jobs.Unsupported, "only the service manager of Windows calls this"), "use the run verb")
}
