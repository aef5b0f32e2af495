package main

import (
	"context"
	"log/slog"
	"sync"

	"idlegrid/agent/service"
)

// watcher tells what happens to the machine: service.Watch.
type watcher func(ctx context.Context, handle service.Handler) error

// throughSleep runs something until ctx ends or it ends itself. Before the machine sleeps or is switched off it is ended,
// while the system waits; when the machine is awake it begins anew: an agent under a new boot counter, since after its
// goodbye nobody believes the old one, and asking before it runs anything, as after any start.
func throughSleep(ctx context.Context, log *slog.Logger, watch watcher, run func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	asleep, awake := make(chan chan struct{}), make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		err := watch(ctx, func(e service.Event) {
			switch e {
			case service.Suspend, service.Shutdown:
				ended := make(chan struct{})
				select {
				case asleep <- ended:
					<-ended
				case <-ctx.Done():
				}
			case service.Resume:
				select {
				case awake <- struct{}{}:
				case <-ctx.Done():
				}
			case service.SessionChange: // who is here the signals tell
			}
		})
		if err != nil && ctx.Err() == nil {
			log.Warn("cannot see when this machine sleeps", "err", err)
		}
	})
	defer watching.Wait()
	defer cancel()
	for {
		ended, err := untilSleep(ctx, asleep, awake, run)
		if ended == nil {
			return err
		}
		close(ended)
		if err != nil {
			return err
		}
		for sleeping := true; sleeping; {
			select {
			case <-ctx.Done():
				return nil
			case <-awake:
				sleeping = false
			case again := <-asleep:
				close(again)
			}
		}
	}
}

// untilSleep runs something until it ends, or the machine is about to sleep and it has ended: then whoever waits for that
// is returned.
func untilSleep(ctx context.Context, asleep chan chan struct{}, awake chan struct{}, run func(context.Context) error) (chan struct{}, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	for {
		select {
		case err := <-done:
			return nil, err
		case <-awake: // it did not sleep, or woke without having said so
		case ended := <-asleep:
			cancel()
			return ended, <-done
		}
	}
}
