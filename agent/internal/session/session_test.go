package session

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	gridv1 "idlegrid/proto/grid/v1"
)

// unused is a desktop without events, which nobody has used for hours.
type unused struct{ looks atomic.Int64 }

func (u *unused) look(context.Context) (state, error) {
	u.looks.Add(1)
	return state{input: ago(5 * time.Hour)}, nil
}
func (*unused) input() <-chan struct{} { return nil }
func (*unused) close() error           { return nil }

// counted is a stream that counts reports.
type counted struct {
	grpc.BidiStreamingClient[gridv1.SessionReport, gridv1.SessionAsk]
	sent atomic.Int64
}

func (c *counted) Send(*gridv1.SessionReport) error {
	c.sent.Add(1)
	return nil
}

// TestPace: while nothing runs a helper wakes its PC every two seconds; else it looks closely, and reports once a second.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, stream := &unused{}, &counted{}
		r := &reporter{desktop: d, stream: stream, asks: make(chan bool), lost: make(chan error, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.report(ctx) }()
		for _, c := range []struct {
			matters      bool
			looks, sends int64 // in a minute
		}{{false, 30, 30}, {true, 1200, 60}, {false, 30, 30}} {
			r.asks <- c.matters
			synctest.Wait()
			d.looks.Store(0)
			stream.sent.Store(0)
			time.Sleep(time.Minute)
			synctest.Wait()
			if looks, sent := d.looks.Load(), stream.sent.Load(); looks < c.looks-1 || looks > c.looks+1 || sent < c.sends-3 || sent > c.sends+1 {
				t.Errorf("asked to look closely %t: %d looks, %d reports a minute, expected %d and %d", c.matters, looks, sent, c.looks, c.sends)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestNews(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) *time.Time { v := now.Add(-ago); return &v }
	yes, no := true, false
	for name, c := range map[string]struct {
		before, now state
		want        bool
	}{
		"nothing":               {state{}, state{}, false},
		"the first word":        {state{}, state{input: at(0)}, true},
		"no input":              {state{input: at(time.Hour)}, state{input: at(time.Hour)}, false},
		"a clock that trembles": {state{input: at(time.Hour)}, state{input: at(time.Hour - 2*time.Millisecond)}, false},
		"input":                 {state{input: at(time.Hour)}, state{input: at(0)}, true},
		"more of it":            {state{input: at(300 * time.Millisecond)}, state{input: at(0)}, false},
		"not known any more":    {state{input: at(0)}, state{}, true},
		"locked":                {state{locked: &no}, state{locked: &yes}, true},
		"still locked":          {state{locked: &yes}, state{locked: &yes}, false},
		"a presentation":        {state{}, state{presenting: &yes}, true},
	} {
		if got := news(c.before, c.now); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
