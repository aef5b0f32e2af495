package blobs_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer/blobs"
)

// Whoever comes while a run is under way is served by the next one, all together, and not by that one.
func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs, first := 0, errors.New("the first run")
		join := blobs.NewRounds(func() error {
			runs++
			time.Sleep(time.Second)
			if runs == 1 {
				return first
			}
			return nil
		})
		var group sync.WaitGroup
		group.Go(func() {
			if err := join(); !errors.Is(err, first) {
				t.Errorf("the first caller got %v", err)
			}
		})
		time.Sleep(time.Second / 2)
		for range 10 {
			group.Go(func() {
				if err := join(); err != nil {
					t.Errorf("a later caller got the error of a run before its time: %v", err)
				}
			})
		}
		group.Wait()
		if runs != 2 {
			t.Errorf("%d runs, expected 2", runs)
		}
	})
}
