package gridtest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// forger makes reports, good but for what a test changes, and pushes them as the villain.
type forger struct {
	g *gridtest.Grid
	v *gridtest.Villain
	j *gridtest.Job
}

// forge returns an offer of a report that the villain signs. Its pack is real, and honest agents keep it.
func (f *forger) forge(change func(*record.Report)) records.Offer {
	f.g.T.Helper()
	outcome := record.Outcome{Stdout: []byte("forged\n")}
	pack := record.EncodePack([]record.UnitOutcome{{Unit: 1, Bytes: outcome.Encode()}})
	r := &record.Report{
		Job: f.j.ID, Author: f.v.Identity.ID(), Counter: uint64(time.Now().UnixNano()), Runtime: "villain 1", Platform: "none",
		Pack:    jobs.Blob{Digest: jobs.DigestOf(pack), Size: int64(len(pack))},
		Bundles: []record.BundleReport{{Bundle: 1, Units: []record.UnitReport{{Unit: 1, Outcome: outcome.Digest()}}}},
	}
	change(r)
	o := records.Offer{
		Record: records.Record{Envelope: record.Sign(record.TypeReport, r.Encode(), f.v.Identity.Key)},
		Chains: [][][]byte{f.v.Identity.Chain},
	}
	for _, m := range f.g.On()[:2] {
		to := blobs.Peer{ID: m.Node().ID(), Conn: f.v.Conn(m)}
		receipt, err := blobs.Send(f.g.T.Context(), to, f.j.ID, jobs.Blob{Digest: jobs.DigestOf(pack), Size: int64(len(pack))}, bytes.NewReader(pack))
		if err != nil {
			f.g.T.Fatal(err)
		}
		o.Receipts = append(o.Receipts, receipt)
	}
	return o
}

// refusedByAll fails the test unless each agent refuses the offer, for good, with this reason.
func (f *forger) refusedByAll(what, reason string, o records.Offer) {
	f.g.T.Helper()
	for _, m := range f.g.On() {
		refused, err := records.Push(f.g.T.Context(), f.v.Conn(m), []records.Offer{o}, true)
		switch {
		case err != nil:
			if !strings.Contains(err.Error(), reason) {
				f.g.T.Errorf("%s: %s answers %v, expected %q", what, m.IP, err, reason)
			}
		case len(refused) != 1 || !strings.Contains(refused[0].Reason, reason):
			f.g.T.Errorf("%s: %s refuses %+v, expected %q", what, m.IP, refused, reason)
		}
	}
}

// TestForgedReports: reports of what is not there, and in others' names, are refused by every agent, and an
// honest report that somebody else carries is just that report.
func TestForgedReports(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		v := g.AddVillain(func(*gridtest.Villain) gridtest.Services { return gridtest.Services{} })
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(100)
		time.Sleep(6 * time.Second)
		f := &forger{g, v, j}
		honest := theirs(t, g, j)

		f.refusedByAll("a unit that does not exist", "which is not in", f.forge(func(r *record.Report) {
			r.Bundles[0].Units[0].Unit = 100
		}))
		f.refusedByAll("a unit of another bundle", "which is not in", f.forge(func(r *record.Report) { r.Bundles[0].Bundle = 2 }))
		f.refusedByAll("a bundle that does not exist", "which is not in", f.forge(func(r *record.Report) { r.Bundles[0].Bundle = 1 << 40 }))
		f.refusedByAll("a shard that does not exist", "the job has 1", f.forge(func(r *record.Report) { r.Shard = 7 }))
		f.refusedByAll("a job that does not exist", "no live job", f.forge(func(r *record.Report) { r.Job[0] ^= 1 }))
		f.refusedByAll("another's name", "has not signed", f.forge(func(r *record.Report) { r.Author = g.Agents[0].Node().ID() }))
		f.refusedByAll("a pack that nobody has", "receipt", f.forge(func(r *record.Report) { r.Pack.Digest[0] ^= 1 }))

		alone := f.forge(func(*record.Report) {})
		alone.Receipts = alone.Receipts[:1]
		f.refusedByAll("a pack with one holder", "1 holders here, 2 are needed", alone)
		twice := f.forge(func(*record.Report) {})
		twice.Receipts[1] = twice.Receipts[0]
		f.refusedByAll("a pack with one holder twice", "1 holders here, 2 are needed", twice)

		stolen := honest
		stolen.Envelope = record.Sign(record.TypeReport, honest.Envelope.Payload, v.Identity.Key)
		stolen.Chains = [][][]byte{v.Identity.Chain}
		for _, m := range g.On() { // who has that report keeps it as its author signed it
			refused, err := records.Push(g.T.Context(), v.Conn(m), []records.Offer{stolen}, false)
			if err != nil {
				t.Errorf("%s: %v", m.IP, err)
			}
			kept, err := m.Node().Store.Get(honest.Envelope.ID())
			if err != nil && len(refused) == 0 || err == nil && !slices.EqualFunc(kept.Envelope.Signatures, honest.Envelope.Signatures, sameSignature) {
				t.Errorf("%s keeps another's report under the villain's signature: %v", m.IP, err)
			}
		}
		changed := honest
		changed.Envelope.Payload = append(bytes.Clone(honest.Envelope.Payload), 0x78, 1)
		f.refusedByAll("another's report, changed", "signature", changed)

		if refused, err := records.Push(g.T.Context(), v.Conn(g.Agents[0]), []records.Offer{honest}, false); err != nil || len(refused) > 0 {
			t.Errorf("an honest report carried by the villain: %v, refused %v", err, refused)
		}
		j.Await(3 * time.Minute)
		j.Each(1, 1)
		j.Complete()
		wellAndWhole(g)
	})
}

func sameSignature(a, b record.Signature) bool {
	return a.Signer() == b.Signer() && bytes.Equal(a.Sig, b.Sig)
}

// theirs returns a report that an agent made.
func theirs(t *testing.T, g *gridtest.Grid, j *gridtest.Job) records.Offer {
	t.Helper()
	for id := range j.Acknowledged() {
		for _, m := range g.On() {
			if o, err := m.Node().Store.Get(id); err == nil {
				return o
			}
		}
	}
	t.Fatal("no agent has reported anything")
	return records.Offer{}
}

// maxGrowth bounds what the attacks below may leave behind, or hold while they last, of all agents of the test
// together.
const maxGrowth = 200 << 20

// TestP11HugeMessages: what is larger than the protocol's bounds is refused without being kept, whatever the
// call, and the villain alone has to do with that.
func TestP11HugeMessages(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		v := g.AddVillain(func(*gridtest.Villain) gridtest.Services { return gridtest.Services{} })
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(100)
		time.Sleep(6 * time.Second)
		before := heap()
		garbage := make([]byte, 16<<20)
		if _, err := rand.Read(garbage); err != nil {
			t.Fatal(err)
		}
		many := func(n int) (out [][]byte) {
			for i := range n {
				out = append(out, garbage[i:i+32])
			}
			return out
		}
		scope := records.ShardToProto(jobs.ShardID{Job: j.ID})
		small := &gridv1.Record{Envelope: &gridv1.Envelope{PayloadType: "x", Payload: []byte{1}}}
		for _, m := range g.On() {
			conn := v.Conn(m)
			recs, steward, store := gridv1.NewRecordsClient(conn), gridv1.NewStewardClient(conn), gridv1.NewBlobsClient(conn)
			attacks := map[string]func(context.Context) (proto.Message, error){
				"a record of 16 MiB": func(ctx context.Context) (proto.Message, error) {
					return recs.Push(ctx, &gridv1.PushRequest{Records: []*gridv1.Record{{Envelope: &gridv1.Envelope{Payload: garbage}}}})
				},
				"200,000 records": func(ctx context.Context) (proto.Message, error) {
					req := &gridv1.PushRequest{}
					for range 200_000 {
						req.Records = append(req.Records, small)
					}
					return recs.Push(ctx, req)
				},
				"a list of 100,000 IDs": func(ctx context.Context) (proto.Message, error) {
					stream, err := recs.Pull(ctx, &gridv1.PullRequest{Scope: scope, Ids: many(100_000)})
					if err != nil {
						return nil, err
					}
					return stream.Recv()
				},
				"100,000 digests": func(ctx context.Context) (proto.Message, error) {
					return store.Have(ctx, &gridv1.HaveRequest{Job: j.ID[:], Digests: many(100_000)})
				},
				"100,000 leases": func(ctx context.Context) (proto.Message, error) {
					req := &gridv1.ExchangeRequest{Shard: scope}
					for i := range 100_000 {
						req.Held = append(req.Held, &gridv1.Run{First: uint64(i), Count: 1})
					}
					return steward.Exchange(ctx, req)
				},
				"a lease of all": func(ctx context.Context) (proto.Message, error) {
					return steward.Exchange(ctx, &gridv1.ExchangeRequest{Shard: scope, Held: []*gridv1.Run{{Count: 1<<32 - 1}}})
				},
				"an exchange of another shard": func(ctx context.Context) (proto.Message, error) {
					return steward.Exchange(ctx, &gridv1.ExchangeRequest{Shard: records.ShardToProto(jobs.ShardID{Job: j.ID, Shard: 9})})
				},
			}
			for name, attack := range attacks {
				ctx, cancel := context.WithTimeout(g.T.Context(), time.Minute)
				if reply, err := attack(ctx); err == nil {
					t.Errorf("%s: %s took it: %.200s", name, m.IP, reply)
				}
				cancel()
			}
		}
		// Leases of units that are not there, and of those of others, are no reason to refuse the rest.
		reply, err := gridv1.NewStewardClient(v.Conn(g.Coordinator.Stewards(j)[0])).Exchange(g.T.Context(), &gridv1.ExchangeRequest{
			Shard: scope, Slots: 1<<32 - 1, UnitUs: 1, Held: []*gridv1.Run{{First: 1 << 50, Count: 9}, {First: 0, Count: 100}},
		})
		if err != nil || len(reply.GetLend()) > 100 {
			t.Errorf("claims of units that others hold: %v, lent %d runs", err, len(reply.GetLend()))
		}
		if grown := heap() - before; grown > maxGrowth {
			t.Errorf("the heap grew by %d MiB", grown>>20)
		}
		j.Await(5 * time.Minute)
		j.Each(1, 3)
		j.Complete()
		wellAndWhole(g)
	})
}

// heap returns the bytes that are in use after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// flood answers comparisons with IDs that nobody has, and gives records without end.
type flood struct {
	gridv1.UnimplementedRecordsServer
	synced, pulled, sent atomic.Int64
}

// silent takes calls and does not answer.
type silent struct {
	gridv1.UnimplementedRecordsServer
	pulled atomic.Int64
}

func (s *silent) Pull(_ *gridv1.PullRequest, stream gridv1.Records_PullServer) error {
	s.pulled.Add(1)
	<-stream.Context().Done()
	return stream.Context().Err()
}

func (f *flood) Sync(context.Context, *gridv1.SyncRequest) (*gridv1.SyncReply, error) {
	f.synced.Add(1)
	ids := make([]byte, 32*64<<10)
	if _, err := rand.Read(ids); err != nil {
		return nil, err
	}
	return &gridv1.SyncReply{Ids: slices.Collect(slices.Chunk(ids, 32))}, nil
}

func (f *flood) Push(context.Context, *gridv1.PushRequest) (*gridv1.PushReply, error) {
	return &gridv1.PushReply{}, nil
}

func (f *flood) Pull(_ *gridv1.PullRequest, stream gridv1.Records_PullServer) error {
	f.pulled.Add(1)
	junk := &gridv1.PullReply{}
	for range 16 {
		junk.Records = append(junk.Records, &gridv1.Record{Envelope: &gridv1.Envelope{PayloadType: record.TypeReport, Payload: make([]byte, 64<<10)}})
	}
	for range 20 { // then silence: virtual time passes only when nobody has anything to do
		if err := stream.Send(junk); err != nil {
			return err
		}
		f.sent.Add(int64(proto.Size(junk)))
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}

// TestP11FloodOfRecords: comparisons with a peer that claims to have endless records end, and keep nothing of it.
func TestP11FloodOfRecords(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		bad := &flood{}
		v := g.AddVillain(func(*gridtest.Villain) gridtest.Services { return gridtest.Services{Records: bad} })
		g.Work(gridtest.Takes(time.Second))
		before := heap()
		j := g.Submit(300, v.FirstSteward)
		time.Sleep(150 * time.Second)
		if bad.synced.Load() == 0 || bad.pulled.Load() == 0 {
			t.Errorf("the villain was compared with %d times and pulled from %d times", bad.synced.Load(), bad.pulled.Load())
		}
		if grown := heap() - before; grown > maxGrowth {
			t.Errorf("the heap grew by %d MiB after %d MiB of junk", grown>>20, bad.sent.Load()>>20)
		}
		j.Await(5 * time.Minute)
		j.Complete()
		wellAndWhole(g)
	})
}

// TestP11FloodOfWakes: wakes for jobs that nobody knows, from one who does not tell, do not keep the pool from
// its work, nor from a new job.
func TestP11FloodOfWakes(t *testing.T) {
	gridtest.Run(t, 3, func(g *gridtest.Grid) {
		bad := &silent{}
		v := g.AddVillain(func(*gridtest.Villain) gridtest.Services { return gridtest.Services{Records: bad} })
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(100)
		ids := []jobs.AgentID{g.Coordinator.Node().ID()}
		for _, m := range g.On() {
			ids = append(ids, m.Node().ID())
		}
		stop, stopped := make(chan struct{}), make(chan struct{})
		var sent atomic.Int64
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				case <-time.After(10 * time.Millisecond):
				}
				job := jobs.JobID(jobs.DigestOf([]byte{byte(i), byte(i >> 8), byte(i >> 16)}))
				sent.Add(int64(v.Gossip.Wake(ids, job)))
			}
		}()
		time.Sleep(5 * time.Second)
		next := g.Submit(100)
		took := max(j.Await(3*time.Minute), next.Await(3*time.Minute))
		close(stop)
		<-stopped
		if n := sent.Load(); n < 1000 || bad.pulled.Load() == 0 {
			t.Errorf("%d wakes were sent, %d manifests asked for", n, bad.pulled.Load())
		}
		t.Logf("%d wakes, both jobs took %s more", sent.Load(), took)
		j.Each(1, 1)
		next.Each(1, 1)
		j.Complete()
		next.Complete()
		wellAndWhole(g)
	})
}
