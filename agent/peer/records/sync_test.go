package records_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"idlegrid/agent/peer"
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

// serve answers calls at an address of its own.
func (n *network) serve(host string, id *identity.Identity, service gridv1.RecordsServer) address {
	n.t.Helper()
	l, err := n.net.Host(host).Listen(1)
	if err != nil {
		n.t.Fatal(err)
	}
	log := n.options().Log
	listener := rpc.Listen(l, rpc.ListenOptions{Identity: func() *identity.Identity { return id }, Log: log})
	server := rpc.NewServer(log)
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
		j := p.job(func(m *manifest.Manifest) { m.Units, m.Bundle = 3000, 1 })
		var mine, theirs []records.Offer
		for u := range j.manifest.Units {
			o := j.offered(j.report(j.about(success(u), 0)))
			if u%3 > 0 {
				mine = append(mine, o)
			}
			if u%3 < 2 {
				theirs = append(theirs, o)
			}
		}
		p.add(p.a, append(mine, j.offer)...)
		p.add(p.b, append(theirs, j.offer)...)
		p.sync(j.reports(0), records.Both)
		p.counts(j.reports(0), 3000, 3000)
		if p.a.Digest(j.reports(0)) != p.b.Digest(j.reports(0)) {
			t.Error("digests differ")
		}
		if calls, bytes := p.calls.Load(), p.bytes.Load(); calls < 2 || bytes/calls > 2<<20 {
			t.Errorf("%d bytes in %d messages", bytes, calls)
		}
		late := p.store()
		p.add(late, j.offer)
		if err := late.Pull(t.Context(), p.conn, j.reports(0)); err != nil {
			t.Fatal(err)
		}
		if late.Digest(j.reports(0)) != p.a.Digest(j.reports(0)) {
			t.Errorf("of 3000 records %d were pulled", len(late.IDs(j.reports(0))))
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

// A newcomer that pulls everything gets rulings together with their manifests, and shows what the others show.
func TestPullOfAllJobs(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		p := n.pair()
		for range 20 {
			j := p.job()
			p.add(p.b, j.offer, j.ruling(1, record.RuledUnit{}), j.seal())
		}
		if err := p.a.Pull(t.Context(), p.conn, records.Scope{}); err != nil {
			t.Fatal(err)
		}
		p.counts(records.Scope{}, 60, 60)
	})
}

// readable is a store with two jobs of different submitters, each with a report.
type readable struct {
	*network
	s          *records.Store
	to         address
	j, foreign *theJob
	operator   *identity.Identity
}

func (n *network) readable() *readable {
	r := &readable{network: n, s: n.store(), j: n.job(), operator: n.grid.Role(peer.Operator, "it")}
	r.to = n.serve("10.0.0.1", n.agents[3], records.NewService(r.s))
	r.foreign = n.job(func(m *manifest.Manifest) { m.Submitter = n.rival.ID() })
	r.foreign.offer = n.signed(record.TypeManifest, r.foreign.offer.Envelope.Payload, n.rival, n.coordinator)
	n.add(r.s, r.j.offer, r.foreign.offer, r.j.offered(r.j.report()), r.foreign.offered(r.foreign.report()))
	return r
}

// pulled returns how many records a caller gets.
func (r *readable) pulled(id *identity.Identity, scope records.Scope, ids ...jobs.Digest) int {
	r.t.Helper()
	req := &gridv1.PullRequest{Scope: &gridv1.Scope{}, Ids: records.DigestsToProto(ids)}
	if scope.Reports {
		req.Scope = records.ShardToProto(scope.Shard)
	}
	stream, err := gridv1.NewRecordsClient(r.dial(id, r.to)).Pull(r.t.Context(), req)
	n := 0
	for err == nil {
		var reply *gridv1.PullReply
		if reply, err = stream.Recv(); err == nil {
			n += len(reply.GetRecords())
		}
	}
	if !errors.Is(err, io.EOF) {
		r.t.Fatal(err)
	}
	return n
}

// P10: a submitter reads what is its own.
func TestWhoMayRead(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		r := n.readable()
		mine, others := r.j.reports(0), r.foreign.reports(0)
		for _, c := range []struct {
			name  string
			id    *identity.Identity
			scope records.Scope
			ids   []jobs.Digest
			want  int
		}{
			{"an agent, all jobs", n.agents[0], records.Scope{}, nil, 2},
			{"an operator, all jobs", r.operator, records.Scope{}, nil, 2},
			{"a submitter, all jobs", n.submitter, records.Scope{}, nil, 1},
			{"a submitter, a job by ID", n.submitter, records.Scope{}, []jobs.Digest{jobs.Digest(r.j.id)}, 1},
			{"a submitter, another's job by ID", n.submitter, records.Scope{}, []jobs.Digest{jobs.Digest(r.foreign.id)}, 0},
			{"a submitter, its shard", n.submitter, mine, nil, 1},
			{"a submitter, another's shard", n.submitter, others, nil, 0},
			{"a submitter, another's report by ID", n.submitter, others, r.s.IDs(others), 0},
			{"an agent, an ID that is not in the scope", n.agents[0], mine, r.s.IDs(others), 0},
		} {
			if got := r.pulled(c.id, c.scope, c.ids...); got != c.want {
				t.Errorf("%s: got %d records, expected %d", c.name, got, c.want)
			}
		}
		for _, id := range []*identity.Identity{n.submitter, r.operator} {
			if _, err := n.store().Sync(t.Context(), n.dial(id, r.to), records.Scope{}, records.Both); jobs.KindOf(err) != jobs.Denied {
				t.Errorf("the role %s compares records: %v", id.Caller().Role, err)
			}
		}
	})
}

// P10: a submitter pushes rulings only, and the coordinator alone says that a job is new.
func TestWhoMayPush(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		r := n.readable()
		j := r.j
		push := func(id *identity.Identity, o records.Offer) (*gridv1.PushReply, error) {
			return gridv1.NewRecordsClient(n.dial(id, r.to)).Push(t.Context(), &gridv1.PushRequest{
				Records: []*gridv1.Record{records.OfferToProto(o)}, Fresh: true,
			})
		}
		for name, o := range map[string]records.Offer{
			"manifest": n.job().offer, "report": j.offered(j.report()), "cancel": j.cancel(), "seal": j.seal(),
		} {
			if _, err := push(n.submitter, o); jobs.KindOf(err) != jobs.Denied {
				t.Errorf("a submitter pushes a %s: %v", name, err)
			}
		}
		if _, err := push(r.operator, j.cancel()); jobs.KindOf(err) != jobs.Denied {
			t.Errorf("an operator pushes: %v", err)
		}
		ruling := j.ruling(1, record.RuledUnit{Outcome: jobs.DigestOf([]byte("outcome"))})
		if reply, err := push(n.submitter, ruling); err != nil || len(reply.GetKept()) != 1 {
			t.Errorf("a submitter pushes a ruling: %v, %v", reply, err)
		}
		reply, err := push(n.rival, n.signed(record.TypeRuling, j.ruling(2, record.RuledUnit{}).Envelope.Payload, n.rival))
		if err != nil || len(reply.GetRefused()) != 1 || !reply.GetRefused()[0].GetFinal() {
			t.Errorf("a submitter rules on another's job: %v, %v", reply, err)
		}
		fresh := func() bool {
			job, err := r.s.Job(j.id)
			return err == nil && !job.Fresh.IsZero()
		}
		if _, err := push(n.agents[0], j.offer); err != nil || fresh() {
			t.Errorf("an agent's word makes a job fresh: %v", err)
		}
		if _, err := push(n.coordinator, j.offer); err != nil || !fresh() {
			t.Errorf("the coordinator's word makes no job fresh: %v", err)
		}
	})
}

// rogue is a peer that answers as it likes.
type rogue struct {
	gridv1.UnimplementedRecordsServer
	sync *gridv1.SyncReply
	pull *gridv1.PullReply
}

func (r *rogue) Sync(context.Context, *gridv1.SyncRequest) (*gridv1.SyncReply, error) {
	return r.sync, nil
}

func (r *rogue) Push(context.Context, *gridv1.PushRequest) (*gridv1.PushReply, error) {
	return &gridv1.PushReply{Refused: []*gridv1.Refusal{{Id: []byte("short")}}}, nil
}

func (r *rogue) Pull(_ *gridv1.PullRequest, s gridv1.Records_PullServer) error { return s.Send(r.pull) }

func TestMalformedRequests(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		client := gridv1.NewRecordsClient(n.dial(n.agents[0], n.serve("10.0.0.1", n.agents[3], records.NewService(n.store()))))
		for name, call := range map[string]func() error{
			"scope": func() error {
				_, err := client.Sync(t.Context(), &gridv1.SyncRequest{Scope: &gridv1.Scope{Job: []byte("x")}})
				return err
			},
			"digest": func() error { _, err := client.Sync(t.Context(), &gridv1.SyncRequest{}); return err },
			"record": func() error {
				_, err := client.Push(t.Context(), &gridv1.PushRequest{Records: []*gridv1.Record{{}}})
				return err
			},
			"ID": func() error {
				stream, err := client.Pull(t.Context(), &gridv1.PullRequest{Ids: [][]byte{[]byte("x")}})
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			},
		} {
			if err := call(); jobs.KindOf(err) != jobs.Invalid {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestMalformedAnswers(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		s := n.store()
		j := n.job()
		n.add(s, j.offer)
		bad := &rogue{sync: &gridv1.SyncReply{}, pull: &gridv1.PullReply{Records: []*gridv1.Record{{}}}}
		conn := n.dial(n.agents[0], n.serve("10.0.0.2", n.agents[1], bad))
		before := s.Digest(records.Scope{})
		tell := func(name string, want jobs.ErrorKind, ids ...[]byte) {
			t.Helper()
			bad.sync.Ids = ids
			if _, err := s.Sync(t.Context(), conn, records.Scope{}, records.Both); jobs.KindOf(err) != want || err == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		tell("a malformed refusal", jobs.Invalid)
		tell("a malformed ID", jobs.Invalid, j.id[:], []byte("short"))
		tell("a malformed record", jobs.Invalid, j.id[:], make([]byte, 32))
		bad.pull.Records = []*gridv1.Record{records.OfferToProto(forge(n.job().offer, n.submitter.Key))}
		if _, err := s.Sync(t.Context(), conn, records.Scope{}, records.Both); err != nil || s.Digest(records.Scope{}) != before {
			t.Errorf("a forged record: %v", err)
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
