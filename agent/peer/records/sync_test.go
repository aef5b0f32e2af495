package records_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/agent/peer/simnet"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// network joins stores over gRPC and mutual TLS, in virtual time.
type network struct {
	*world
	net   *simnet.Network
	bytes atomic.Int64 // of messages that servers got
	calls atomic.Int64
}

func inNetwork(t *testing.T, test func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, &network{world: newWorld(t), net: simnet.New(0, 1)}) })
}

// P5: a cancel that comes before its manifest is refused for now, and both come with the next comparison.
func TestP5CancelBeforeItsManifest(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		knows, late := n.store(), n.store()
		j := n.job()
		n.add(knows, j.offer, j.cancelByOperator(), j.seal())
		kept, refused, err := late.Add(t.Context(), []records.Offer{j.cancelByOperator(), j.seal()}, false)
		if err != nil || len(kept) > 0 || len(refused) != 2 || refused[0].Final || refused[1].Final {
			t.Fatalf("kept %v, refused %v, %v", kept, refused, err)
		}
		conn := n.dial(n.agents[3], n.serve("10.0.0.1", n.agents[0], records.NewService(knows)))
		if _, err := late.Sync(t.Context(), conn, records.Scope{}, records.Both); err != nil {
			t.Fatal(err)
		}
		if late.Digest(records.Scope{}) != knows.Digest(records.Scope{}) || late.Runnable(j.id) == nil || len(late.Jobs(false)) != 1 {
			t.Errorf("after a comparison the job may run: %v", late.Runnable(j.id))
		}
	})
}

// serve answers calls at an address of its own.
func (n *network) serve(host string, id *identity.Identity, service gridv1.RecordsServer) address {
	n.t.Helper()
	l, err := n.net.Host(host).Listen(1)
	if err != nil {
		n.t.Fatal(err)
	}
	log := n.options().Log
	listener := rpc.Listen(l, rpc.ListenOptions{Identity: func() *identity.Identity { return id }, Log: log})
	server := rpc.NewServer(log, rpc.Told{})
	gridv1.RegisterRecordsServer(server, service)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener.GRPC()) }()
	n.t.Cleanup(func() {
		server.Stop()
		if err := errors.Join(<-ended, listener.Close()); err != nil {
			n.t.Error(err)
		}
	})
	return address{host + ":1", id.ID()}
}

type address struct {
	addr string
	id   jobs.KeyID
}

// counting counts what is pushed.
type counting struct {
	*records.Service
	n *network
}

func (c *counting) Push(ctx context.Context, req *gridv1.PushRequest) (*gridv1.PushReply, error) {
	c.n.calls.Add(1)
	c.n.bytes.Add(int64(proto.Size(req)))
	return c.Service.Push(ctx, req)
}

func (n *network) dial(from *identity.Identity, to address) grpc.ClientConnInterface {
	n.t.Helper()
	d := rpc.NewDialer(rpc.DialOptions{
		Identity: func() *identity.Identity { return from }, Root: n.grid.Root(),
		Dial: func(ctx context.Context, addr string) (net.Conn, error) {
			return n.net.Host("10.0.1.1").Dial(ctx, addr)
		},
	})
	n.t.Cleanup(d.Close)
	c, err := d.Conn(to.addr, to.id)
	if err != nil {
		n.t.Fatal(err)
	}
	return c
}

// pair are two stores, the first of which can call the second.
type pair struct {
	*network
	a, b *records.Store
	conn grpc.ClientConnInterface
}

func (n *network) pair() *pair {
	p := &pair{network: n, a: n.store(), b: n.store()}
	p.conn = n.dial(n.agents[2], n.serve("10.0.0.1", n.agents[3], &counting{Service: records.NewService(p.b), n: n}))
	return p
}

// sync fails unless it works and nothing is refused.
func (p *pair) sync(scope records.Scope, dir records.Direction) {
	p.t.Helper()
	if refused, err := p.a.Sync(p.t.Context(), p.conn, scope, dir); err != nil || len(refused) > 0 {
		p.t.Fatalf("refused %v, %v", refused, err)
	}
}

func (p *pair) counts(scope records.Scope, a, b int) {
	p.t.Helper()
	if na, nb := len(p.a.IDs(scope)), len(p.b.IDs(scope)); na != a || nb != b {
		p.t.Errorf("one has %d and the other %d records, expected %d and %d", na, nb, a, b)
	}
}

func TestSync(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		p := n.pair()
		j, other := p.job(), p.job()
		p.add(p.a, j.offer, j.ruling(1, record.RuledUnit{}), j.offered(j.report()), j.offered(j.report()))
		p.add(p.b, other.offer, other.ruling(1, record.RuledUnit{}))
		p.sync(records.Scope{}, records.Offering)
		p.counts(records.Scope{}, 2, 4)
		p.sync(records.Scope{}, records.Both)
		p.counts(records.Scope{}, 4, 4)
		calls := p.calls.Load()
		p.sync(records.Scope{}, records.Both)
		if p.calls.Load() != calls {
			t.Error("equal stores push")
		}
		p.add(p.b, j.offered(j.report()))
		p.sync(j.reports(0), records.Offering)
		p.counts(j.reports(0), 2, 3)
		p.sync(j.reports(0), records.Both)
		p.counts(j.reports(0), 3, 3)
		if p.a.Digest(j.reports(0)) != p.b.Digest(j.reports(0)) || p.a.Digest(records.Scope{}) != p.b.Digest(records.Scope{}) {
			t.Error("after they were compared both ways their digests differ")
		}
	})
}

// answering counts the IDs in the answers to comparisons.
type answering struct {
	*records.Service
	ids atomic.Int64
}

func (a *answering) Sync(ctx context.Context, req *gridv1.SyncRequest) (*gridv1.SyncReply, error) {
	reply, err := a.Service.Sync(ctx, req)
	a.ids.Add(int64(len(reply.GetIds())))
	return reply, err
}

// Who offers a few reports to a steward that has many of others is not told of those: all agents that worked for a
// shard do so when it gets a new steward.
func TestOfferIsAnsweredBriefly(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		author, steward := n.store(), n.store()
		service := &answering{Service: records.NewService(steward)}
		conn := n.dial(n.agents[2], n.serve("10.0.0.1", n.agents[3], service))
		j := n.job(func(m *manifest.Manifest) { m.Units, m.Bundle = 20, 1 })
		n.add(author, j.offer)
		n.add(steward, j.offer)
		for u := range j.manifest.Units {
			o := j.offered(j.report(j.about(success(u), 0)))
			if u < 2 {
				n.add(author, o)
			}
			if u > 0 {
				n.add(steward, o)
			}
		}
		if refused, err := author.Sync(t.Context(), conn, j.reports(0), records.Offering); err != nil || len(refused) > 0 {
			t.Fatalf("refused %v, %v", refused, err)
		}
		if has := len(steward.IDs(j.reports(0))); has != 20 || len(author.IDs(j.reports(0))) != 2 {
			t.Errorf("the steward has %d reports, expected 20, and the author took some", has)
		}
		if ids := service.ids.Load(); ids != 1 {
			t.Errorf("the answer named %d reports, expected the one of the author's that was there", ids)
		}
	})
}

// What the other side refuses comes back with the reason; what it offers and is no good is not taken.
func TestSyncRefused(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		p := n.pair()
		j := p.job()
		own := j.bare(j.report(by(p.agents[3]))) // b's own: without receipts
		p.add(p.a, j.offer, j.offered(j.report()))
		refused, err := p.a.Sync(t.Context(), p.conn, j.reports(0), records.Both)
		if err != nil || len(refused) != 1 || refused[0].Final {
			t.Errorf("reports of a job that the other does not know: %v, %v", refused, err)
		}
		p.sync(records.Scope{}, records.Both)
		p.add(p.b, own)
		o := p.options()
		o.Self = p.agents[2].ID()
		p.a = p.open(o)
		p.add(p.a, j.offer)
		p.sync(j.reports(0), records.Both)
		p.counts(j.reports(0), 0, 1)
	})
}

// Thousands of records go in several messages, and each message stays far below what a peer takes.
func TestSyncOfThousands(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		p := n.pair()
		j := p.job(func(m *manifest.Manifest) { m.Units, m.Bundle = 2100, 1 })
		mine, theirs := []records.Offer{j.offer}, []records.Offer{j.offer}
		for u := range j.manifest.Units {
			o := j.offered(j.report(j.about(success(u), 0)))
			if u < 2010 {
				mine = append(mine, o)
			}
			if u >= 2000 {
				theirs = append(theirs, o)
			}
		}
		p.add(p.a, mine...)
		p.add(p.b, theirs...)
		p.sync(j.reports(0), records.Both)
		p.counts(j.reports(0), 2100, 2100)
		if p.a.Digest(j.reports(0)) != p.b.Digest(j.reports(0)) {
			t.Error("digests differ")
		}
		if calls, bytes := p.calls.Load(), p.bytes.Load(); calls < 2 || bytes/calls > 2<<20 {
			t.Errorf("%d bytes in %d messages", bytes, calls)
		}
	})
}

// The largest records that a store takes still fit into a message when they are passed on.
func TestLargestRecordsTravel(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		p := n.pair()
		j := p.job(func(m *manifest.Manifest) { m.Units, m.Bundle = 2*500, 500 })
		p.add(p.a, j.offer)
		p.add(p.b, j.offer)
		for bundle := range uint64(2) {
			r := j.report(func(r *record.Report) {
				r.Bundles[0].Bundle, r.Bundles[0].Units = bundle, nil
				for u := range uint64(500) {
					f := failure(500*bundle + u)
					f.Failure.Text = string(slices.Repeat([]byte("x"), jobs.MaxFailureText))
					r.Bundles[0].Units = append(r.Bundles[0].Units, f)
				}
			})
			o := j.offered(r)
			o.Receipts = append(o.Receipts, slices.Repeat(o.Receipts, 3)...)
			p.add(p.a, o)
		}
		p.sync(j.reports(0), records.Offering)
		p.counts(j.reports(0), 2, 2)
	})
}

// A newcomer that pulls everything gets every manifest before what needs it, though there are several messages.
func TestPullOfAllJobs(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		p := n.pair()
		const many = record.MaxRulingUnits
		units := make([]record.RuledUnit, many)
		for i := range units {
			units[i].Unit = uint64(i)
		}
		for range 6 {
			j := p.job(func(m *manifest.Manifest) { m.Units, m.Bundle = many, many })
			p.add(p.b, j.offer, j.ruling(1, units...), j.seal())
		}
		if err := p.a.Pull(t.Context(), p.conn, records.Scope{}); err != nil {
			t.Fatal(err)
		}
		p.counts(records.Scope{}, 18, 18)
	})
}

// babbler answers a pull with the same message for ever.
type babbler struct {
	*records.Service
	reply *gridv1.PullReply
	sent  atomic.Int64
}

func (b *babbler) Pull(_ *gridv1.PullRequest, stream gridv1.Records_PullServer) error {
	for ; ; b.sent.Add(1) {
		if err := stream.Send(b.reply); err != nil {
			return err
		}
	}
}

// A peer that never ends its answer is cut off at what was asked for, and at a message that says nothing.
func TestPullIsBounded(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		a, b := n.store(), n.store()
		j := n.job()
		n.add(b, j.offer)
		record := records.OfferToProto(j.offer)
		for host, reply := range map[string]*gridv1.PullReply{
			"10.0.0.1": {Records: []*gridv1.Record{record}},
			"10.0.0.2": {},
		} {
			peer := &babbler{Service: records.NewService(b), reply: reply}
			conn := n.dial(n.agents[2], n.serve(host, n.agents[3], peer))
			if _, err := a.Sync(t.Context(), conn, records.Scope{}, records.Both); jobs.KindOf(err) != jobs.Corrupt {
				t.Errorf("%d records a message: %v", len(reply.GetRecords()), err)
			}
			t.Logf("%d messages of %d records were sent", peer.sent.Load(), len(reply.GetRecords()))
			a = n.store()
		}
	})
}

// Stores of any size agree in the end, though a list holds only so many IDs, and nothing goes twice or against
// its direction.
func TestWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(2, 6).Draw(t, "most")
		draw := func(label string) []jobs.Digest {
			list := rapid.SliceOfNDistinct(rapid.Byte(), 0, 20, rapid.ID[byte]).Draw(t, label)
			slices.Sort(list)
			ids := make([]jobs.Digest, len(list))
			for i, b := range list {
				ids[i][0] = b
			}
			return ids
		}
		ours, theirs := draw("ours"), draw("theirs")
		pushed, wanted := map[jobs.Digest]bool{}, map[jobs.Digest]bool{}
		for start := range len(theirs) + 1 {
			push, want, err := records.Compare(ours, records.DigestsToProto(records.Window(theirs, start, most)), most)
			if err != nil {
				t.Fatal(err)
			}
			for _, id := range push {
				if slices.Contains(theirs, id) || !slices.Contains(ours, id) {
					t.Fatalf("pushed %s, which they have or we have not", id)
				}
				pushed[id] = true
			}
			for _, id := range want {
				wanted[jobs.Digest(id)] = true
			}
		}
		for _, id := range ours {
			if !pushed[id] && !slices.Contains(theirs, id) {
				t.Errorf("from no start %s is pushed", id)
			}
		}
		for _, id := range theirs {
			if wanted[id] == slices.Contains(ours, id) {
				t.Errorf("%s is wanted: %v", id, wanted[id])
			}
		}
	})
}
