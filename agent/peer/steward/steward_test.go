package steward

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// bench is a steward with its records, in a pool of four agents, of which it is the first.
type bench struct {
	*Steward
	t           *testing.T
	store       *records.Store
	coordinator *identity.Identity
	submitter   *identity.Identity
	agents      []*identity.Identity
	counter     uint64

	mu    sync.Mutex // guards everything below
	pool  []peer.Member
	woken []time.Time
	asked map[jobs.AgentID]int // co-stewards, how often
	teach func(ctx context.Context, from jobs.AgentID) error
	told  []*gridv1.Record // what a co-steward knows of checkpoints
	blobs map[jobs.ShardID]peer.BlobCounts
}

// inBench runs a test in virtual time.
func inBench(t *testing.T, test func(t *testing.T, b *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newBench(t)) })
}

func newBench(t *testing.T) *bench {
	t.Helper()
	grid := identitytest.NewGrid(t)
	b := &bench{t: t, coordinator: grid.Role(peer.Coordinator, ""), submitter: grid.Role(peer.Submitter, "alice")}
	for range 4 {
		id := grid.Agent()
		b.agents = append(b.agents, id)
		b.pool = append(b.pool, peer.Member{ID: id.ID(), Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true, Cores: 2})
	}
	b.pool = append(b.pool, peer.Member{ID: b.coordinator.ID(), Role: peer.Coordinator})
	log := slog.New(slog.DiscardHandler)
	store, err := records.Open(records.Options{ // a reader's: receipts and the disk are not what is tested here
		Path: filepath.Join(t.TempDir(), "records.db"), Root: grid.Root(), Reader: true, Members: b.members, Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b.store = store
	b.Steward = New(Options{Store: store, Self: b.agents[0].ID(), Members: b.members, Wake: b.wakes, Learn: b.learn, Blobs: b.counted, Log: log})
	t.Cleanup(b.Close)
	return b
}

func (b *bench) counted(shard jobs.ShardID) (peer.BlobCounts, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	counts, ok := b.blobs[shard]
	return counts, ok
}

// learn asks the test's co-stewards, who have nothing to say unless it says so.
func (b *bench) learn(ctx context.Context, _ jobs.ShardID, from peer.Member) ([]*gridv1.Record, error) {
	b.mu.Lock()
	if b.asked == nil {
		b.asked = map[jobs.AgentID]int{}
	}
	b.asked[from.ID]++
	teach, told := b.teach, b.told
	b.mu.Unlock()
	if teach == nil {
		return told, nil
	}
	return nil, teach(ctx, from.ID)
}

// keeps reports whether this agent stewards a shard.
func (b *bench) keeps(shard jobs.ShardID) bool {
	return place{shard, peer.Stewards(shard, b.members())}.keptBy(b.o.Self)
}

func (b *bench) members() []peer.Member {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.pool)
}

// only leaves these agents in the pool.
func (b *bench) only(agents ...int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.pool = slices.DeleteFunc(b.pool, func(m peer.Member) bool {
		return m.Role == peer.Agent && !slices.ContainsFunc(agents, func(n int) bool { return b.agents[n].ID() == m.ID })
	})
}

func (b *bench) wakes(to []jobs.AgentID, _ jobs.JobID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.pool {
		if slices.Contains(to, m.ID) != (m.Role == peer.Agent && m.Cores > 0) {
			b.t.Errorf("the %s %s with %d cores is among the woken: %v", m.Role, m.ID.Short(), m.Cores, slices.Contains(to, m.ID))
		}
	}
	b.woken = append(b.woken, time.Now())
}

// wakings returns how often others were woken since it was last called.
func (b *bench) wakings() int {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.woken)
	b.woken = nil
	return n
}

func (b *bench) add(fresh bool, offers ...records.Offer) {
	b.t.Helper()
	if _, refused, err := b.store.Add(b.t.Context(), offers, fresh); err != nil || len(refused) > 0 {
		b.t.Fatalf("%v, %v", refused, err)
	}
}

func (b *bench) offer(typ string, payload []byte, first *identity.Identity, more ...*identity.Identity) records.Offer {
	o := records.Offer{Record: records.Record{Envelope: record.Sign(typ, payload, first.Key)}, Chains: [][][]byte{first.Chain}}
	for _, id := range more {
		o.Envelope.Countersign(id.Key)
		o.Chains = append(o.Chains, id.Chain)
	}
	return o
}

// job adds a job of so many units and returns it; fresh is the coordinator's word that it is new.
func (b *bench) job(fresh bool, units uint64, bundle uint32, change ...func(*manifest.Manifest)) records.Job {
	b.t.Helper()
	now := time.Now().Truncate(time.Second)
	b.counter++
	m := &manifest.Manifest{
		Name: fmt.Sprint("job-", b.counter), Submitter: b.submitter.ID(), Runtime: manifest.RuntimeWasm,
		Program: jobs.Blob{Digest: jobs.DigestOf([]byte("program")), Size: 7}, Units: units, Bundle: bundle, Quorum: 1,
		Memory: 64 << 20, Timeout: time.Minute, Retries: 1, SuccessCodes: []uint32{0},
		Created: now, Expires: now.Add(24 * time.Hour), MinVersion: 1,
	}
	for _, f := range change {
		f(m)
	}
	payload, err := m.Encode()
	if err != nil {
		b.t.Fatal(err)
	}
	o := b.offer(record.TypeManifest, payload, b.submitter, b.coordinator)
	b.add(fresh, o)
	j, err := b.store.Job(jobs.JobID(o.Envelope.ID()))
	if err != nil {
		b.t.Fatal(err)
	}
	return j
}

// ask is an exchange by one of the agents; it fails only if the exchange does.
func (b *bench) ask(who int, shard jobs.ShardID, slots uint32, held ...*gridv1.Run) *gridv1.ExchangeReply {
	b.t.Helper()
	reply, err := b.Exchange(b.as(b.agents[who]), &gridv1.ExchangeRequest{Shard: records.ShardToProto(shard), Held: held, Slots: slots})
	if err != nil {
		b.t.Fatal(err)
	}
	return reply
}

// as is a call by somebody.
func (b *bench) as(id *identity.Identity) context.Context {
	return rpc.WithCaller(b.t.Context(), id.Caller())
}

// report adds a report about all units of bundles.
func (b *bench) report(who int, j records.Job, failed bool, bundles ...uint64) {
	b.t.Helper()
	b.counter++
	r := &record.Report{
		Job: j.ID, Shard: j.Manifest.ShardOf(bundles[0]), Author: b.agents[who].ID(), Counter: b.counter,
		Runtime: "r", Platform: "p", Pack: jobs.Blob{Digest: jobs.DigestOf([]byte("pack")), Size: 4},
	}
	for _, n := range bundles {
		first, count := j.Manifest.BundleUnits(n)
		br := record.BundleReport{Bundle: n}
		for u := first; u < first+count; u++ {
			unit := record.UnitReport{Unit: u, Outcome: jobs.DigestOf([]byte("outcome")), Times: jobs.Times{CPU: time.Second}}
			if failed {
				unit.Failure = jobs.Failure{Kind: jobs.FailureTrap}
			}
			br.Units = append(br.Units, unit)
		}
		r.Bundles = append(r.Bundles, br)
	}
	b.add(false, b.offer(record.TypeReport, r.Encode(), b.agents[who]))
}

func count(runs []*gridv1.Run) (n uint32) {
	for _, r := range runs {
		n += r.GetCount()
	}
	return n
}

func shardOf(j records.Job, n uint32) jobs.ShardID { return jobs.ShardID{Job: j.ID, Shard: n} }

// A steward that is new to a shard listens for a period, and says when to come again.
func TestListening(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0)
		shard := shardOf(b.job(false, 10, 1), 0)
		reply := b.ask(1, shard, 1)
		again := time.Duration(reply.GetAgainMs()) * time.Millisecond
		if len(reply.GetLend()) > 0 || again < DefaultPeriod || again > DefaultPeriod+time.Second || reply.GetOpen() != 10 {
			t.Errorf("a steward that listens answers %v", reply)
		}
		time.Sleep(again)
		if reply := b.ask(1, shard, 1); count(reply.GetLend()) != 1 || reply.GetAgainMs() != uint32(DefaultPeriod.Milliseconds()) {
			t.Errorf("when it has listened it answers %v", reply)
		}
	})
}

// With a job that the coordinator has just handed over there is nothing to listen for.
func TestFresh(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0)
		j := b.job(true, 10, 1)
		if reply := b.ask(1, shardOf(j, 0), 1); count(reply.GetLend()) != 1 {
			t.Errorf("a fresh job: %v", reply)
		}
		late := b.job(true, 10, 1)
		time.Sleep(DefaultPeriod)
		if reply := b.ask(1, shardOf(late, 0), 1); count(reply.GetLend()) != 0 {
			t.Errorf("a job that was fresh a period ago: %v", reply)
		}
		known := b.job(false, 10, 1)
		b.ask(1, shardOf(known, 0), 1)
		if b.wakings() != 0 {
			t.Error("others are woken for nothing")
		}
		b.Seeded(known.ID)
		if reply := b.ask(1, shardOf(known, 0), 1); count(reply.GetLend()) != 1 || b.wakings() != 1 {
			t.Errorf("a job that is handed over while its steward listens: %v", reply)
		}
		b.Seeded(jobs.JobID{1})
	})
}

// Only the first steward of a shard wakes others for a new job.
func TestSeededWakesOnce(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		seen := map[int]bool{}
		for len(seen) < 2 {
			j := b.job(true, 10, 1)
			b.Seeded(j.ID)
			want := 0
			if peer.Stewards(shardOf(j, 0), b.members())[0].ID == b.agents[0].ID() {
				want = 1
			}
			if n := b.wakings(); n != want {
				t.Errorf("others are woken %d times, expected %d", n, want)
			}
			seen[want] = true
		}
	})
}

// What comes back wakes others at once, and at most once a second; what comes back within the second wakes
// them when it is over, though nobody asks again.
func TestWakesAreSpacedAndNotLost(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0, 1, 2)
		j := b.job(true, 10, 1)
		shard := shardOf(j, 0)
		b.ask(1, shard, 4)
		b.ask(1, shard, 0, &gridv1.Run{First: 1, Count: 3})
		if n := b.wakings(); n != 1 {
			t.Fatalf("a bundle came back, others are woken %d times", n)
		}
		woken := time.Now()
		time.Sleep(wakePeriod / 4)
		b.report(1, j, true, 1)
		b.ask(1, shard, 0, &gridv1.Run{First: 2, Count: 2})
		b.ask(1, shard, 0, &gridv1.Run{First: 3, Count: 1})
		if n := b.wakings(); n != 0 {
			t.Fatalf("within a second others are woken %d times more", n)
		}
		time.Sleep(time.Until(woken.Add(wakePeriod - 1)))
		if n := b.wakings(); n != 0 {
			t.Fatalf("before the second is over others are woken %d times more", n)
		}
		time.Sleep(time.Nanosecond)
		if n := b.wakings(); n != 1 {
			t.Fatalf("when the second is over others are woken %d times", n)
		}
		time.Sleep(time.Minute)
		if n := b.wakings(); n != 0 {
			t.Fatalf("without anything new others are woken %d times", n)
		}
	})
}

// A wake that waited is dropped when nothing waits any more, or the steward is none.
func TestWakeForNothing(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0, 1, 2)
		j := b.job(true, 10, 1)
		shard := shardOf(j, 0)
		comeBack := func() {
			b.ask(1, shard, 1)
			b.ask(1, shard, 0)
		}
		comeBack()
		if n := b.wakings(); n != 1 {
			t.Fatalf("others are woken %d times", n)
		}
		comeBack()
		b.ask(2, shard, 1)
		time.Sleep(wakePeriod)
		if n := b.wakings(); n != 0 {
			t.Errorf("another took it, and others are woken %d times", n)
		}
		comeBack()
		if n := b.wakings(); n != 1 {
			t.Fatalf("others are woken %d times", n)
		}
		comeBack()
		b.forget(shard)
		time.Sleep(wakePeriod)
		if n := b.wakings(); n != 0 {
			t.Errorf("the shard is another steward's, and others are woken %d times", n)
		}
	})
}

func TestLost(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0, 1, 2)
		first, second := shardOf(b.job(true, 10, 1), 0), shardOf(b.job(true, 10, 1), 0)
		b.ask(1, first, 2)
		b.ask(2, first, 1)
		b.ask(2, second, 1)
		lessees := func(want ...int) {
			t.Helper()
			ids := map[jobs.AgentID]bool{}
			for _, n := range want {
				ids[b.agents[n].ID()] = true
			}
			if got := b.Lessees(); !maps.Equal(got, ids) {
				t.Errorf("lessees are %v, expected %v", got, ids)
			}
		}
		lessees(1, 2)
		b.Lost(b.agents[0].ID())
		if b.wakings() != 0 {
			t.Error("others are woken though nothing came back")
		}
		b.Lost(b.agents[1].ID())
		if n := b.wakings(); n != 1 {
			t.Errorf("others are woken %d times", n)
		}
		lessees(2)
		if reply := b.ask(2, first, 2, &gridv1.Run{First: 2, Count: 1}); len(reply.GetLend()) != 1 || reply.GetLend()[0].GetFirst() != 0 {
			t.Errorf("what came back is not lent: %v", reply)
		}
		time.Sleep(DefaultTTL)
		lessees()
	})
}

// Whoever is no steward of a shard says so, forgets its leases, and listens again should it become one.
func TestNotSteward(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		var shard jobs.ShardID
		for { // one that the agent would not steward in a pool of all four
			shard = shardOf(b.job(true, 10, 1), 0)
			if !b.keeps(shard) {
				break
			}
		}
		if reply := b.ask(1, shard, 1); !reply.GetNotSteward() || len(reply.GetLend()) > 0 {
			t.Errorf("it answers %v", reply)
		}
		all := b.members()
		b.only(0, 1)
		b.ask(1, shard, 1)
		if len(b.Lessees()) != 1 {
			t.Error("as a steward it lends nothing")
		}
		b.mu.Lock()
		b.pool = all
		b.mu.Unlock()
		time.Sleep(DefaultPeriod)
		b.ask(1, shard, 1)
		b.only(0, 1)
		if reply := b.ask(1, shard, 1); len(b.Lessees()) != 0 || len(reply.GetLend()) > 0 {
			t.Errorf("as a steward again it answers %v", reply)
		}
	})
}
