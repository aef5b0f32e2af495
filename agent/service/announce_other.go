//go:build !linux && !windows

package service

import "context"

// Announce runs a daemon. launchd asks for no word of how far it is.
func Announce(ctx context.Context, run func(context.Context) error) error { return run(ctx) }
