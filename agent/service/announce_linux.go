package service

import (
	"context"
	"fmt"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Announce runs a daemon that is ready for others, and tells systemd so, if that started it; and when ctx ends, that it
// stops.
func Announce(ctx context.Context, run func(context.Context) error) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("tell systemd that the service is ready: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		// Only status displays lose by an error here.
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	})
	defer stop()
	return run(ctx)
}
