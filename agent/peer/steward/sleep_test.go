package steward

import (
	"context"
	"testing"
	"time"

	"idlegrid/jobs/record"
)

// P5: a steward whose machine slept lends nothing before it has listened anew, whoever notices first; in that time it
// hears of what was cancelled meanwhile.
func TestP5StewardThatSlept(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0)
		j := b.job(true, 100, 1)
		shard := shardOf(j, 0)
		ctx, cancel := context.WithCancel(t.Context())
		woken, done := 0, make(chan struct{})
		go func() {
			defer close(done)
			b.Watch(ctx, func() { woken++ })
		}()
		for range 30 { // an agent that is awake is asked now and then
			time.Sleep(2 * beatEvery)
			if r := b.ask(1, shard, 1); count(r.GetLend()) != 1 {
				t.Fatalf("an agent that is awake lends %v", r)
			}
		}
		cancel()
		<-done
		if woken > 0 {
			t.Errorf("it was taken for asleep %d times", woken)
		}
		time.Sleep(10 * time.Minute) // nothing looks
		if r := b.ask(1, shard, 1); len(r.GetLend()) > 0 || r.GetAgainMs() == 0 || r.GetOpen() == 0 {
			t.Errorf("right after the machine woke: %v", r)
		}
		if !b.looked(time.Now()) || b.looked(time.Now()) {
			t.Error("that it slept is not told once")
		}
		b.add(false, b.offer(record.TypeCancel, (&record.Cancel{Job: j.ID}).Encode(), b.submitter))
		time.Sleep(DefaultPeriod)
		if r := b.ask(1, shard, 1); len(r.GetLend()) > 0 {
			t.Errorf("of a job that was cancelled meanwhile: %v", r)
		}
		time.Sleep(10 * time.Minute)
		if !b.looked(time.Now()) {
			t.Error("the look does not notice")
		}
		if !b.looked(time.Now().Add(-time.Hour)) {
			t.Error("a sleep may hide behind a clock that was set back")
		}
	})
}
