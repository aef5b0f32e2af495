package records_test

import (
	"context"
	"errors"
	"io"
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

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
