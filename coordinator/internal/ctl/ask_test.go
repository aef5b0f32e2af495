package ctl

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestQuestion: peers that fail or hang cost little time, whichever they are.
func TestQuestion(t *testing.T) {
	const (
		good = iota
		bad  // fails at once
		hung
	)
	for name, c := range map[string]struct {
		peers   []int
		answers int
		took    time.Duration
	}{
		"nobody":                {},
		"one":                   {peers: []int{good}, answers: 1},
		"enough":                {peers: []int{good, good, hung}, answers: 2},
		"failures come first":   {peers: []int{bad, bad, bad, good, good}, answers: 2},
		"one hangs":             {peers: []int{hung, good, good}, answers: 2, took: hedgeAfter},
		"two hang":              {peers: []int{hung, hung, good, good}, answers: 2, took: 2 * hedgeAfter},
		"too few":               {peers: []int{bad, good}, answers: 1},
		"all fail":              {peers: []int{bad, bad, bad}},
		"the only other hangs":  {peers: []int{good, hung}, answers: 1, took: askTimeout},
		"all hang":              {peers: []int{hung, hung}, took: askTimeout},
		"many hang, then there": {peers: []int{hung, hung, hung, hung, good, good}, answers: 2, took: 4 * hedgeAfter},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				broken := errors.New("broken")
				q := question{enough: 2, hedge: hedgeAfter, ask: func(ctx context.Context, i int) error {
					switch c.peers[i] {
					case good:
						return nil
					case bad:
						return broken
					}
					ctx, cancel := context.WithTimeout(ctx, askTimeout)
					defer cancel()
					<-ctx.Done()
					return ctx.Err()
				}}
				answers, err := q.of(t.Context(), len(c.peers))
				if answers != c.answers || time.Since(start) != c.took {
					t.Errorf("%d answers after %v, expected %d after %v", answers, time.Since(start), c.answers, c.took)
				}
				if wrong := len(c.peers) > 0 && answers == 0; (err != nil) != wrong {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}
