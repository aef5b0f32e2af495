package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/service"
)

// nights runs something through the events that a machine tells of, a minute apart, and says how often it began. Each
// event waits until it may go on.
func nights(t *testing.T, run func(ctx context.Context, begun int) error, events ...service.Event) (begun int, waited []time.Duration, err error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	watch := func(ctx context.Context, handle service.Handler) error {
		for _, e := range events {
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
				return nil
			}
			from := time.Now()
			handle(e)
			waited = append(waited, time.Since(from))
		}
		time.Sleep(time.Minute)
		cancel()
		return nil
	}
	err = throughSleep(ctx, slog.New(slog.DiscardHandler), watch, func(ctx context.Context) error {
		begun++
		return run(ctx, begun)
	})
	return begun, waited, err
}

// untilTold ends three seconds after its context, as an agent does that has a last checkpoint to give.
func untilTold(ctx context.Context, _ int) error {
	<-ctx.Done()
	time.Sleep(3 * time.Second)
	return nil
}

func TestThroughSleep(t *testing.T) {
	const ending = 3 * time.Second
	for name, test := range map[string]struct {
		events []service.Event
		begun  int
		waits  []time.Duration
	}{
		"a night":              {[]service.Event{service.Suspend, service.Resume}, 2, []time.Duration{ending, 0}},
		"two nights":           {[]service.Event{service.Suspend, service.Resume, service.Suspend, service.Resume}, 3, []time.Duration{ending, 0, ending, 0}},
		"it is said twice":     {[]service.Event{service.Suspend, service.Suspend, service.Resume, service.Resume}, 2, []time.Duration{ending, 0, 0, 0}},
		"switched off":         {[]service.Event{service.Shutdown}, 1, []time.Duration{ending}},
		"not switched off":     {[]service.Event{service.Shutdown, service.Resume}, 2, []time.Duration{ending, 0}},
		"woke without a night": {[]service.Event{service.Resume}, 1, []time.Duration{0}},
		"somebody logged on":   {[]service.Event{service.SessionChange}, 1, []time.Duration{0}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, waited, err := nights(t, untilTold, test.events...)
				if err != nil || begun != test.begun || len(waited) != len(test.waits) {
					t.Fatalf("began %d times, the system waited %v: %v", begun, waited, err)
				}
				for i, want := range test.waits {
					if waited[i] != want {
						t.Errorf("the system waited %s at event %d, expected %s", waited[i], i, want)
					}
				}
			})
		})
	}
}

// TestThroughSleepEnds: what ends by itself is not begun again, and neither is what cannot begin after a night.
func TestThroughSleepEnds(t *testing.T) {
	wrong := errors.New("wrong")
	synctest.Test(t, func(t *testing.T) {
		if begun, _, err := nights(t, func(context.Context, int) error { return wrong }); begun != 1 || !errors.Is(err, wrong) {
			t.Errorf("began %d times: %v", begun, err)
		}
		begun, _, err := nights(t, func(ctx context.Context, begun int) error {
			if begun == 2 {
				return wrong
			}
			return untilTold(ctx, begun)
		}, service.Suspend, service.Resume, service.Suspend)
		if begun != 2 || !errors.Is(err, wrong) {
			t.Errorf("began %d times: %v", begun, err)
		}
	})
}
