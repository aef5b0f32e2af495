package steward

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestSummary(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0, 1)
		j := b.job(true, 11, 2) // the sixth bundle is short
		shard := shardOf(j, 0)
		want := func(want *gridv1.SummaryReply) {
			t.Helper()
			got, err := b.Summary(b.as(b.submitter), &gridv1.SummaryRequest{Shard: records.ShardToProto(shard)})
			if err != nil || !proto.Equal(got, want) {
				t.Errorf("got %v, expected %v, %v", got, want, err)
			}
		}
		want(&gridv1.SummaryReply{Open: 11, Stewards: 2})
		b.blobs = map[jobs.ShardID]peer.BlobCounts{shard: {Enough: 3, Few: 2, None: 1}}
		want(&gridv1.SummaryReply{Open: 11, Stewards: 2, Blobs: &gridv1.BlobCounts{Enough: 3, Few: 2, None: 1}})
		b.blobs = nil
		b.ask(1, shard, 4)
		b.ask(2, shard, 0)
		one, two := b.agents[1].ID(), b.agents[2].ID()
		want(&gridv1.SummaryReply{Open: 11, Lent: 4, Lessees: [][]byte{one[:]}, Stewards: 2})
		b.ask(2, shard, 8)
		both := [][]byte{one[:], two[:]}
		slices.SortFunc(both, slices.Compare)
		want(&gridv1.SummaryReply{Open: 11, Lent: 11, Lessees: both, Stewards: 2})
		b.report(1, j, false, 0)
		b.report(1, j, true, 1)
		b.ask(1, shard, 0)
		second := uint64(time.Second / time.Microsecond)
		spent := func(r *gridv1.SummaryReply) *gridv1.SummaryReply {
			r.UsefulCpuUs, r.CpuUs, r.Stewards = 2*second, 4*second, 2
			hour := record.HourOf(j.Manifest.Created.Add(-time.Hour)) // these reports say none
			r.Account = []*gridv1.HourlySpend{{
				Hour: hour, Spend: &gridv1.Spend{UsefulUs: 2 * second, FailedUs: 2 * second, AcceptedRuns: 2, FailedRuns: 2},
			}}
			return r
		}
		want(spent(&gridv1.SummaryReply{Open: 9, Accepted: 2, Lent: 8, Lessees: [][]byte{two[:]}}))
		time.Sleep(DefaultTTL)
		want(spent(&gridv1.SummaryReply{Open: 9, Accepted: 2}))
		b.add(false, b.offer(record.TypeSeal, (&record.Seal{Job: j.ID}).Encode(), b.submitter))
		want(spent(&gridv1.SummaryReply{Sealed: 11}))
		b.add(false, b.offer(record.TypeCancel, (&record.Cancel{Job: j.ID}).Encode(), b.submitter))
		want(spent(&gridv1.SummaryReply{Dead: 11}))
	})
}

// P10: a submitter sees its own jobs, and agents alone exchange.
func TestWhoMayAsk(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0)
		j := b.job(true, 10, 1)
		shard := records.ShardToProto(shardOf(j, 0))
		caller := func(role peer.Role) identity.Caller {
			return identity.Caller{ID: jobs.KeyID{9}, Role: role, NotAfter: time.Now().Add(time.Hour)}
		}
		expired := b.agents[1].Caller()
		expired.NotAfter = time.Now().Add(-time.Hour)
		for _, c := range []struct {
			name              string
			who               identity.Caller
			exchange, summary jobs.ErrorKind
		}{
			{"anonymous", identity.Caller{}, jobs.Denied, jobs.Denied},
			{"an agent", caller(peer.Agent), ok, ok},
			{"the coordinator", caller(peer.Coordinator), jobs.Denied, ok},
			{"an operator", caller(peer.Operator), jobs.Denied, ok},
			{"another submitter", caller(peer.Submitter), jobs.Denied, jobs.Denied},
			{"the submitter", b.submitter.Caller(), jobs.Denied, ok},
			{"an expired agent", expired, jobs.Expired, jobs.Expired},
		} {
			ctx := rpc.WithCaller(t.Context(), c.who)
			if _, err := b.Exchange(ctx, &gridv1.ExchangeRequest{Shard: shard}); kindOf(err) != c.exchange {
				t.Errorf("exchange by %s: %v", c.name, err)
			}
			if _, err := b.Summary(ctx, &gridv1.SummaryRequest{Shard: shard}); kindOf(err) != c.summary {
				t.Errorf("summary for %s: %v", c.name, err)
			}
		}
		for name, c := range map[string]struct {
			scope *gridv1.Scope
			want  jobs.ErrorKind
		}{
			"no shard":       {nil, jobs.NotFound},
			"half a job":     {&gridv1.Scope{Job: []byte("x")}, jobs.Invalid},
			"an unknown job": {records.ShardToProto(jobs.ShardID{Job: jobs.JobID{1}}), jobs.NotFound},
			"no such shard":  {records.ShardToProto(shardOf(j, 1)), jobs.Invalid},
		} {
			if _, err := b.Summary(b.as(b.submitter), &gridv1.SummaryRequest{Shard: c.scope}); kindOf(err) != c.want {
				t.Errorf("summary of %s: %v", name, err)
			}
		}
		if _, err := b.Local(&gridv1.ExchangeRequest{Shard: shard, Slots: 1}); err != nil || !b.Lessees()[b.agents[0].ID()] {
			t.Errorf("an exchange with itself: %v", err)
		}
	})
}

// ok is the kind of no error.
const ok = jobs.ErrorKind(255)

func kindOf(err error) jobs.ErrorKind {
	if err == nil {
		return ok
	}
	return jobs.KindOf(err)
}

// P3: with no faults every unit is lent exactly once, over all shards and agents.
func TestEachUnitOnce(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0, 1, 2)
		const bundle, last = 3, 50
		j := b.job(true, bundle*(manifest.ShardBundles+last)-1, bundle)
		if n := j.Manifest.Shards(); n != 2 {
			t.Fatalf("%d shards", n)
		}
		ran := make([]int, j.Manifest.Units)
		held := map[int][]*gridv1.Run{}
		for shard := range j.Manifest.Shards() {
			clear(held)
			for round := 0; b.work(j, shard, held, ran); round++ {
				if round > 1000 {
					t.Fatal("it does not end")
				}
				time.Sleep(time.Second)
			}
		}
		for u, n := range ran {
			if n != 1 {
				t.Fatalf("unit %d ran %d times", u, n)
			}
		}
		if n := len(b.Lessees()); n != 0 {
			t.Errorf("%d agents hold leases at the end", n)
		}
	})
}

// work lets each agent run what it holds, report it, then exchange. It returns whether anything is open.
func (b *bench) work(j records.Job, shard uint32, held map[int][]*gridv1.Run, ran []int) bool {
	b.t.Helper()
	open := uint64(0)
	for a := range 3 {
		var done []uint64
		for _, r := range held[a] {
			for n := r.GetFirst(); n < r.GetFirst()+uint64(r.GetCount()); n++ {
				first, count := j.Manifest.BundleUnits(n)
				for u := first; u < first+count; u++ {
					ran[u]++
				}
				done = append(done, n)
			}
		}
		for part := range slices.Chunk(done, record.MaxReportBundles) {
			b.report(a, j, false, part...)
		}
		reply, err := b.Exchange(b.as(b.agents[a]), &gridv1.ExchangeRequest{
			Shard: records.ShardToProto(shardOf(j, shard)), Slots: 2, UnitUs: uint64(1000 * (a + 1)),
		})
		if err != nil || len(reply.GetDrop()) > 0 || reply.GetNotSteward() {
			b.t.Fatalf("%v, %v", reply, err)
		}
		held[a], open = reply.GetLend(), reply.GetOpen()
	}
	return open > 0
}

// P11: what an agent asks about makes the steward keep nothing.
func TestHostileAsks(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0)
		j := b.job(true, 10, 1)
		shard := records.ShardToProto(shardOf(j, 0))
		unknown := records.ShardToProto(jobs.ShardID{Job: jobs.JobID{1}})
		for name, c := range map[string]struct {
			req  *gridv1.ExchangeRequest
			want jobs.ErrorKind
		}{
			"no shard":           {&gridv1.ExchangeRequest{}, jobs.NotFound},
			"an unknown job":     {&gridv1.ExchangeRequest{Shard: unknown}, jobs.NotFound},
			"half a job":         {&gridv1.ExchangeRequest{Shard: &gridv1.Scope{Job: []byte("x")}}, jobs.Invalid},
			"no such shard":      {&gridv1.ExchangeRequest{Shard: records.ShardToProto(shardOf(j, 1))}, jobs.Invalid},
			"the last shard":     {&gridv1.ExchangeRequest{Shard: records.ShardToProto(shardOf(j, 1<<32-1))}, jobs.Invalid},
			"too much held":      {&gridv1.ExchangeRequest{Shard: shard, Held: []*gridv1.Run{{Count: maxHeld + 1}}}, jobs.Invalid},
			"far too much held":  {&gridv1.ExchangeRequest{Shard: shard, Held: slices.Repeat([]*gridv1.Run{{Count: 1<<32 - 1}}, 9)}, jobs.Invalid},
			"too many held":      {&gridv1.ExchangeRequest{Shard: shard, Held: slices.Repeat([]*gridv1.Run{{}}, maxHeld+1)}, jobs.Invalid},
			"a run that is none": {&gridv1.ExchangeRequest{Shard: shard, Held: slices.Repeat([]*gridv1.Run{nil}, maxHeld+1)}, jobs.Invalid},
		} {
			if _, err := b.Exchange(b.as(b.agents[1]), c.req); jobs.KindOf(err) != c.want || err == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := len(b.shards); n != 0 {
			t.Errorf("%d lenders are kept", n)
		}
		const wraps = 1<<64/1000 + 1 // in nanoseconds it would be next to nothing
		reply, err := b.Exchange(b.as(b.agents[1]), &gridv1.ExchangeRequest{Shard: shard, Slots: 1, UnitUs: wraps})
		if err != nil || count(reply.GetLend()) != 1 {
			t.Errorf("a unit that takes for ever: %v, %v", reply, err)
		}
	})
}

// P5: an agent that learns of the end of a job tells those who hold its units from it and those who lend the same
// shard, and nobody if it does not steward the job. Then the lender goes, and nothing is lent.
func TestP5Circle(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		if c := b.Circle(b.jobOf(false)); len(c) != 0 {
			t.Errorf("an agent that does not steward the job tells %v", c)
		}
		j := b.jobOf(true)
		if c := b.Circle(j); len(c) != 2 {
			t.Errorf("before anything is lent: %v, expected the two other stewards", c)
		}
		stewards := peer.Stewards(shardOf(j, 0), b.members())
		last := slices.IndexFunc(b.agents, func(id *identity.Identity) bool {
			return !slices.ContainsFunc(stewards, func(m peer.Member) bool { return m.ID == id.ID() })
		})
		b.ask(last, shardOf(j, 0), 1)
		if c := b.Circle(j); len(c) != 3 {
			t.Errorf("%v, expected the two other stewards and a lessee", c)
		}
		b.add(false, b.offer(record.TypeCancel, (&record.Cancel{Job: j.ID}).Encode(), b.submitter))
		reply := b.ask(last, shardOf(j, 0), 4, &gridv1.Run{First: 0, Count: 1})
		if len(reply.GetLend()) > 0 || len(reply.GetDrop()) != 1 || reply.GetOpen() != 0 {
			t.Errorf("an exchange about a cancelled job: %v", reply)
		}
		b.Sweep()
		if len(b.shards) != 0 {
			t.Error("the lender of a cancelled job is kept")
		}
	})
}

// jobOf makes a job that this agent stewards, or does not.
func (b *bench) jobOf(stewarded bool) records.Job {
	b.t.Helper()
	for {
		j := b.job(true, 100, 1)
		if b.keeps(shardOf(j, 0)) == stewarded {
			return j
		}
	}
}

func TestSweep(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		b.only(0)
		j := b.job(true, 10, 1)
		b.ask(1, shardOf(j, 0), 1)
		b.Sweep()
		if len(b.shards) != 1 {
			t.Error("the lender of a live job is dropped")
		}
		time.Sleep(25 * time.Hour)
		b.Sweep()
		if len(b.shards) != 0 {
			t.Error("the lender of an expired job is kept")
		}
		if _, err := b.Exchange(b.as(b.agents[1]), &gridv1.ExchangeRequest{Shard: records.ShardToProto(shardOf(j, 0))}); jobs.KindOf(err) != jobs.NotFound {
			t.Errorf("an expired job: %v", err)
		}
	})
}

// TestLentUnits: a summary tells of as many lent units as were asked for, of who has them, and of the newest checkpoint that
// its steward was told of; not of those that are done.
func TestLentUnits(t *testing.T) {
	inBench(t, func(t *testing.T, b *bench) {
		j, shard := b.lentJob()
		ask := func(most uint32) []*gridv1.LentUnit {
			t.Helper()
			reply, err := b.Summary(b.as(b.submitter), &gridv1.SummaryRequest{Shard: records.ShardToProto(shard), LentUnits: most})
			if err != nil {
				t.Fatal(err)
			}
			return reply.GetLentUnits()
		}
		if list := ask(0); list != nil {
			t.Errorf("told of %v without being asked", list)
		}
		one := b.agents[1].ID()
		unsaved := &gridv1.LentUnit{Unit: 0, Agent: one[:]}
		if list := ask(1000); len(list) != 1 || !proto.Equal(list[0], unsaved) {
			t.Errorf("before a checkpoint: %v", list)
		}
		b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0), Slots: 2}, b.note(b.agents[1], j, 0, 1))
		time.Sleep(5 * time.Second)
		b.bring(1, shard, &gridv1.ExchangeRequest{Held: holds(0, 1, 2)}, b.note(b.agents[1], j, 0, 2))
		time.Sleep(3 * time.Second)
		age := uint64(3000)
		saved := &gridv1.LentUnit{Unit: 0, Agent: one[:], SavedAgeMs: &age, SavedCpuUs: 60e6, SavedBytes: 5}
		list := ask(2)
		if len(list) != 2 || !proto.Equal(list[0], saved) || list[1].GetUnit() != 1 || list[1].SavedAgeMs != nil {
			t.Errorf("after two checkpoints of the first: %v, expected %v", list, saved)
		}
		if list := ask(MaxLentUnits); len(list) != 3 {
			t.Errorf("all: %v", list)
		}
		b.report(1, j, false, 0)
		if list := ask(MaxLentUnits); len(list) != 2 || list[0].GetUnit() != 1 {
			t.Errorf("when the first is done: %v", list)
		}
	})
}
