package ctl

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// The exit codes; the package comment has what they mean.
const (
	exitDone       = 0
	exitError      = 1
	exitUsage      = 2
	exitIncomplete = 3
	exitTimeout    = 124
)

// incompleteError says that a job, or a unit, did not get done although nothing went wrong with gridctl.
type incompleteError struct{ err error }

func (e *incompleteError) Error() string { return e.err.Error() }
func (e *incompleteError) Unwrap() error { return e.err }

// timeoutError is the cause with which --timeout ends a context.
type timeoutError struct{ after time.Duration }

func (e *timeoutError) Error() string { return "ended by --timeout after " + e.after.String() }

// withTimeout ends a verb's context after the value of --timeout; 0 is never.
func withTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, d, &timeoutError{after: d})
}

func exitCode(err error) int {
	var timeout *timeoutError
	var incomplete *incompleteError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &timeout):
		return exitTimeout
	case errors.As(err, &incomplete):
		return exitIncomplete
	case jobs.KindOf(err) == jobs.Invalid:
		return exitUsage
	}
	return exitError
}

// report prints an error the way scripts and people expect it.
func (a *app) report(err error) {
	var write *fs.PathError
	if err == nil || errors.As(err, &write) && write.Path == os.Stdout.Name() && errors.Is(write, syscall.EPIPE) {
		return // the second: nobody reads any more
	}
	var problems manifest.Problems
	if errors.As(err, &problems) {
		for _, p := range problems {
			a.say("%s", clean(p.Error()))
			a.hint(p.Hint)
		}
		a.say("gridctl: %s cannot be used: %s", clean(problems[0].File), count(len(problems), "problem"))
		return
	}
	a.say("gridctl: %s", clean(err.Error()))
	a.hint(jobs.HintOf(err))
}

func (a *app) hint(hint string) {
	if hint != "" {
		a.say("hint: %s", clean(hint))
	}
}
