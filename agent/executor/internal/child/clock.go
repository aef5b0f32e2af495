package child

import "idlegrid/agent/executor/internal/guestfs"

// clock is the time that a guest sees: it starts at a fixed moment, goes on a millisecond with each reading,
// and by what the guest sleeps. Sleeping takes no real time.
type clock struct {
	now  int64 // nanoseconds since the start
	tick func()
}

const millisecond = 1_000_000

// mono is a reading of the monotonic clock.
func (c *clock) mono() int64 {
	c.tick()
	c.now += millisecond
	return c.now
}

// wall is a reading of the clock on the wall.
func (c *clock) wall() (sec int64, nsec int32) {
	t := guestfs.Epoch + c.mono()
	return t / 1e9, int32(t % 1e9)
}

func (c *clock) sleep(ns int64) {
	c.tick()
	if ns > 0 && c.now+ns > c.now {
		c.now += ns
	}
}
