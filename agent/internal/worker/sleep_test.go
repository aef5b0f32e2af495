package worker

import (
	"testing"
	"time"

	"idlegrid/agent/peer/steward"
)

// TestP5RunningUnitsAfterSleep: what ran when the machine fell asleep runs on only if a steward says soon that it is
// still wanted.
func TestP5RunningUnitsAfterSleep(t *testing.T) {
	for name, answers := range map[string]bool{"a steward answers": true, "none does": false} {
		d := newDesk(10, 1)
		d.o.Lease = steward.Lease{}.OrDefault()
		d.lend(0, 1)
		d.wake(d.now)
		d.wake(d.now.Add(askEvery))
		if !d.s.woke.IsZero() {
			t.Fatal("a step that comes as ever is taken for a sleep")
		}
		d.s.askedAt, d.s.retryAt = d.now, d.now.Add(8*time.Hour)
		woke := d.now.Add(8 * time.Hour)
		d.wake(woke)
		if due := d.askDue(d.s, woke, false); due.After(woke) {
			t.Errorf("%s: it asks %s after it woke", name, due.Sub(woke))
		}
		if wait := d.nextLook(woke); wait > confirmWithin {
			t.Errorf("%s: it looks again after %s", name, wait)
		}
		if answers {
			d.s.answered = woke.Add(time.Second).Round(0)
		}
		d.wake(woke.Add(confirmWithin))
		if len(d.s.bundles) != 1 {
			t.Errorf("%s: a unit is given back before its time", name)
		}
		d.wake(woke.Add(confirmWithin + time.Second))
		if held := len(d.s.bundles) == 1; held != answers {
			t.Errorf("%s: it is held on: %v", name, held)
		}
	}
}
