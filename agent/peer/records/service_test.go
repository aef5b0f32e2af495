package records_test

import (
	"context"
	"errors"
	"io"
	"testing"

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
}

func (n *network) readable() *readable {
	r := &readable{network: n, s: n.store(), j: n.job()}
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

// pushedBy offers a record as somebody and returns what became of it.
func (r *readable) pushedBy(id *identity.Identity, o records.Offer) (*gridv1.PushReply, error) {
	return gridv1.NewRecordsClient(r.dial(id, r.to)).Push(r.t.Context(), &gridv1.PushRequest{
		Records: []*gridv1.Record{records.OfferToProto(o)}, Fresh: true,
	})
}

// TestP10WhoMayPush: a submitter pushes rulings, cancels and seals of its own jobs, an operator cancels of any.
func TestP10WhoMayPush(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		r := n.readable()
		j := r.j
		ruled := record.RuledUnit{Outcome: jobs.DigestOf([]byte("outcome"))}
		by := func(id *identity.Identity, o records.Offer) records.Offer {
			return n.signed(o.Envelope.Type, o.Envelope.Payload, id)
		}
		for _, c := range []struct {
			name  string
			id    *identity.Identity
			offer records.Offer
			want  string // denied as a whole, refused for good, or kept
		}{
			{"a submitter, a manifest", n.submitter, n.job().offer, "denied"},
			{"a submitter, a report", n.submitter, j.offered(j.report()), "denied"},
			{"an operator, a manifest", r.operator, n.job().offer, "denied"},
			{"an operator, a report", r.operator, j.offered(j.report()), "denied"},
			{"an operator, a ruling", r.operator, by(r.operator, j.ruling(1, ruled)), "denied"},
			{"an operator, a seal", r.operator, by(r.operator, j.seal()), "denied"},
			{"another submitter, a ruling", n.rival, by(n.rival, j.ruling(1, ruled)), "refused"},
			{"another submitter, a cancel", n.rival, by(n.rival, j.cancel()), "refused"},
			{"another submitter, a seal", n.rival, by(n.rival, j.seal()), "refused"},
			{"an agent, its own cancel", n.agents[0], by(n.agents[0], j.cancel()), "refused"},
			{"the coordinator, its own cancel", n.coordinator, by(n.coordinator, j.cancel()), "refused"},
			{"an agent, an operator's seal", n.agents[0], by(r.operator, j.seal()), "refused"},
			{"a submitter, a ruling", n.submitter, j.ruling(2, ruled), "kept"},
			{"a submitter, a seal", n.submitter, j.seal(), "kept"},
			{"a submitter, a cancel", n.submitter, j.cancel(), "kept"},
			{"an operator, a cancel", r.operator, by(r.operator, r.foreign.cancel()), "kept"},
		} {
			reply, err := r.pushedBy(c.id, c.offer)
			got := "lost"
			switch {
			case jobs.KindOf(err) == jobs.Denied:
				got = "denied"
			case err == nil && len(reply.GetRefused()) == 1 && reply.GetRefused()[0].GetFinal():
				got = "refused"
			case err == nil && len(reply.GetKept()) == 1:
				got = "kept"
			}
			if got != c.want {
				t.Errorf("%s: %s, expected %s: %v, %v", c.name, got, c.want, reply, err)
			}
		}
		if open := r.s.Jobs(true); len(open) > 0 {
			t.Errorf("%d jobs may run after both were cancelled", len(open))
		}
	})
}

// The coordinator alone says that a job is new.
func TestWhoseWordMakesAJobFresh(t *testing.T) {
	inNetwork(t, func(t *testing.T, n *network) {
		r := n.readable()
		fresh := func() bool {
			job, err := r.s.Job(r.j.id)
			return err == nil && !job.Fresh.IsZero()
		}
		if _, err := r.pushedBy(n.agents[0], r.j.offer); err != nil || fresh() {
			t.Errorf("an agent's word makes a job fresh: %v", err)
		}
		if _, err := r.pushedBy(n.coordinator, r.j.offer); err != nil || !fresh() {
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
