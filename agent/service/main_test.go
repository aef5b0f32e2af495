package service

import (
	"testing"
	"time"
)

// patience bounds waits for what comes at once on a machine that is not busy.
const patience = 30 * time.Second

// receive returns what comes out of a channel next.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}
