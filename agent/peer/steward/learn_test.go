package steward

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// untilLent asks every second until something is lent, and returns how long that took.
func (b *bench) untilLent(shard jobs.ShardID) time.Duration {
	b.t.Helper()
	begun := time.Now()
	for count(b.ask(1, shard, 1).GetLend()) == 0 {
		if time.Since(begun) > time.Minute {
			b.t.Fatal("nothing is lent within a minute")
		}
		time.Sleep(time.Second)
	}
	return time.Since(begun)
}

func hangs(ctx context.Context, _ jobs.AgentID) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

func fails(context.Context, jobs.AgentID) error { return errors.New("nobody there") }

// TestLearns holds what a steward waits for before it lends: the word of the others, in bounded time.
func TestLearns(t *testing.T) {
	const third = DefaultPeriod / 3
	for name, test := range map[string]struct {
		teach       func(context.Context, jobs.AgentID) error
		fresh       bool
		asked       int           // the other steward, before anything is lent
		first, next time.Duration // until something is lent: by a new steward, and when another joins it
	}{
		"the other answers": {nil, false, 1, DefaultPeriod, 0},
		"the other hangs":   {hangs, false, 1, DefaultPeriod + third, third},
		"the other fails":   {fails, false, learnTries, DefaultPeriod, learnAgain},
		"the job is fresh":  {hangs, true, 0, 0, third},
	} {
		t.Run(name, func(t *testing.T) {
			inBench(t, func(t *testing.T, b *bench) {
				b.teach = test.teach
				all := b.members()
				shard := shardOf(b.job(test.fresh, 100, 1), 0)
				for !b.keeps(shard) { // with the newcomers too
					shard = shardOf(b.job(test.fresh, 100, 1), 0)
				}
				b.only(0, 1)
				if took := b.untilLent(shard); took != test.first {
					t.Errorf("a new steward lends after %s, expected %s", took, test.first)
				}
				if n := b.asked[b.agents[1].ID()]; n != test.asked {
					t.Errorf("the other was asked %d times, expected %d", n, test.asked)
				}
				time.Sleep(time.Second)
				b.mu.Lock()
				b.pool = all
				b.mu.Unlock()
				took := b.untilLent(shard)
				if took > test.next+time.Second || took < test.next-time.Second {
					t.Errorf("with a newcomer it lends after %s, expected about %s", took, test.next)
				}
			})
		})
	}
}

// TestUnheard holds whom a lender has to hear from: whoever is new, or was away, or did not answer a while ago.
func TestUnheard(t *testing.T) {
	now := epoch
	members := func(ids ...int) []peer.Member {
		var out []peer.Member
		for _, n := range ids {
			out = append(out, peer.Member{ID: agent(n)})
		}
		return out
	}
	l := newLender(newTable(t, 1, 1).m, 0, epoch, DefaultTTL)
	expect := func(what string, want int, never bool, stewards ...int) {
		t.Helper()
		ask, first := l.unheard(members(stewards...), agent(0), now)
		if len(ask) != want || first != never {
			t.Errorf("%s: %d are to be asked, some for the first time: %v", what, len(ask), first)
		}
	}
	expect("alone", 0, false, 0)
	expect("two others", 2, true, 0, 1, 2)
	l.heard[agent(1)] = time.Time{}
	l.heard[agent(2)] = now.Add(time.Minute)
	expect("one answered, one did not", 0, false, 0, 1, 2)
	now = now.Add(time.Minute)
	expect("one did not answer a minute ago", 1, false, 0, 1, 2)
	expect("somebody else", 1, true, 0, 1, 3)
	expect("who was away", 1, true, 0, 1, 2)
	expect("who answered stays heard", 0, false, 0, 1)
	expect("another one was away", 0, false, 0)
	expect("and is back", 1, true, 0, 1)
}

// TestCloseJoins: Close waits for what the steward does by itself, and nothing is begun after it.
func TestCloseJoins(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.teach = hangs
		b.only(0, 1)
		shard := shardOf(b.job(false, 10, 1), 0)
		b.ask(1, shard, 1)
		synctest.Wait()
		if b.asked[b.agents[1].ID()] != 1 {
			t.Fatal("nobody is asked: this tests nothing")
		}
		begun := time.Now()
		b.Close()
		b.Close()
		if took := time.Since(begun); took > 0 {
			t.Errorf("closing took %s", took)
		}
		other := shardOf(b.job(false, 10, 1), 0)
		b.ask(1, other, 1)
		synctest.Wait()
		if n := b.asked[b.agents[1].ID()]; n != 1 {
			t.Errorf("%d calls were made after the end", n)
		}
	})
}
