package records

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// batchBytes bounds one message of records, well below the largest message that peers take.
	batchBytes = 1 << 20
	// maxIDs bounds an ID list: more than a full shard of single-bundle reports, twice, and half of what fits
	// into a message. Larger scopes are compared by windows.
	maxIDs = 64 << 10
)

// Direction says which way a Sync moves records.
type Direction int

// The directions.
const (
	Both Direction = iota
	Offering
)

// Sync makes this store and a peer agree on a scope: equal digests end it, else the peer's IDs come back,
// what it lacks is pushed and, unless only offering, what this store lacks is pulled. It returns what the
// peer refused. In a scope of more than maxIDs records they agree on a part, another one each time.
func (s *Store) Sync(ctx context.Context, conn grpc.ClientConnInterface, scope Scope, dir Direction) ([]Refusal, error) {
	client := gridv1.NewRecordsClient(conn)
	digest := s.Digest(scope)
	req := &gridv1.SyncRequest{Scope: scope.toProto(), Digest: digest[:]}
	// Who only offers has few of a shard's records, and would be told all of its IDs: when a shard gets a new steward,
	// by each agent that worked for it.
	if ids := s.IDs(scope); dir == Offering && len(ids) < maxIDs {
		req.Offered = DigestsToProto(ids)
	}
	reply, err := client.Sync(ctx, req)
	if err != nil {
		return nil, err
	}
	if reply.GetEqual() {
		return nil, nil
	}
	push, want, err := compare(s.IDs(scope), reply.GetIds(), maxIDs)
	if err != nil {
		return nil, err
	}
	refused, err := s.push(ctx, client, push)
	if err != nil || dir == Offering || len(want) == 0 {
		return refused, err
	}
	return refused, s.pull(ctx, client, &gridv1.PullRequest{Scope: scope.toProto(), Ids: want})
}

// compare returns which of our sorted IDs a peer lacks and which of its IDs we lack, as far as its list tells.
func compare(ours []jobs.Digest, list [][]byte, most int) (push []jobs.Digest, want [][]byte, err error) {
	theirs, err := idSet(list, most)
	if err != nil {
		return nil, nil, err
	}
	covered := func(jobs.Digest) bool { return true }
	if len(list) == most {
		covered = between(jobs.Digest(list[0]), jobs.Digest(list[most-1]))
	}
	for _, id := range ours {
		if !theirs[id] && covered(id) {
			push = append(push, id)
		}
		delete(theirs, id)
	}
	for id := range theirs {
		want = append(want, id[:])
	}
	return push, want, nil
}

// window returns at most so many of the sorted IDs, in a row from one of them and going round at the end. With
// a random start every ID has the same chance, however large the scope. A list that is full says nothing of
// what lies between its last ID and its first; any other is the whole scope.
func window(ids []jobs.Digest, start, most int) []jobs.Digest {
	if len(ids) < most {
		return ids
	}
	row := slices.Concat(ids[start:], ids[:start])
	return row[:most]
}

// between reports whether an ID lies in the window from first to last.
func between(first, last jobs.Digest) func(jobs.Digest) bool {
	round := first.Compare(last) > 0
	return func(id jobs.Digest) bool {
		after, before := id.Compare(first) >= 0, id.Compare(last) <= 0
		return after && before || round && (after || before)
	}
}

// Pull fetches records by ID from a peer and keeps the valid ones.
func (s *Store) Pull(ctx context.Context, conn grpc.ClientConnInterface, scope Scope, ids ...jobs.Digest) error {
	req := &gridv1.PullRequest{Scope: scope.toProto()}
	for _, id := range ids {
		req.Ids = append(req.Ids, id[:])
	}
	return s.pull(ctx, gridv1.NewRecordsClient(conn), req)
}

// pull keeps what a peer streams. Of records that were named it takes as many as that, whatever the peer sends.
func (s *Store) pull(ctx context.Context, client gridv1.RecordsClient, req *gridv1.PullRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Pull(ctx, req)
	if err != nil {
		return err
	}
	for got := 0; ; {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		got += len(reply.GetRecords())
		if asked := len(req.GetIds()); len(reply.GetRecords()) == 0 || asked > 0 && got > asked {
			return jobs.Errorf(jobs.Corrupt, "the answer to a pull does not end: %d records asked for (0: all), %d came", asked, got)
		}
		offers, err := OffersFromProto(reply.GetRecords())
		if err != nil {
			return err
		}
		_, refused, err := s.Add(ctx, offers, false)
		if err != nil {
			return err
		}
		for _, r := range refused {
			s.log.Debug("refused a record that a peer has", "id", r.ID, "reason", r.Reason)
		}
	}
}

// Push offers records to a peer and returns what it refused; what is not refused is on disk there. With
// fresh, which peers believe of the coordinator only, manifests are new to the grid.
func Push(ctx context.Context, conn grpc.ClientConnInterface, offers []Offer, fresh bool) ([]Refusal, error) {
	req := &gridv1.PushRequest{Fresh: fresh}
	for _, o := range offers {
		req.Records = append(req.Records, OfferToProto(o))
	}
	reply, err := gridv1.NewRecordsClient(conn).Push(ctx, req)
	if err != nil {
		return nil, err
	}
	return RefusalsFromProto(reply.GetRefused())
}

// push offers stored records in messages of bounded size.
func (s *Store) push(ctx context.Context, client gridv1.RecordsClient, ids []jobs.Digest) ([]Refusal, error) {
	var refused []Refusal
	err := s.eachBatch(ids, func(batch []*gridv1.Record) error {
		reply, err := client.Push(ctx, &gridv1.PushRequest{Records: batch})
		if err != nil {
			return err
		}
		r, err := RefusalsFromProto(reply.GetRefused())
		refused = append(refused, r...)
		return err
	})
	return refused, err
}

// eachBatch reads records and hands them on in batches, a job's manifest before what needs it. A record that
// was forgotten meanwhile is left out.
func (s *Store) eachBatch(ids []jobs.Digest, send func([]*gridv1.Record) error) error {
	var batch []*gridv1.Record
	size := 0
	for _, id := range s.inKeyOrder(ids) {
		o, err := s.Get(id)
		if jobs.KindOf(err) == jobs.NotFound {
			continue
		}
		if err != nil {
			return err
		}
		p := OfferToProto(o)
		batch = append(batch, p)
		if size += proto.Size(p); size < batchBytes {
			continue
		}
		if err := send(batch); err != nil {
			return err
		}
		batch, size = nil, 0
	}
	if len(batch) == 0 {
		return nil
	}
	return send(batch)
}

func idSet(list [][]byte, most int) (map[jobs.Digest]bool, error) {
	if len(list) > most {
		return nil, jobs.Errorf(jobs.Invalid, "list of %d record IDs, expected at most %d", len(list), most)
	}
	ids := make(map[jobs.Digest]bool, len(list))
	for _, b := range list {
		id, err := jobs.DigestFromBytes(b)
		if err != nil {
			return nil, fmt.Errorf("record ID: %w", err)
		}
		ids[id] = true
	}
	return ids, nil
}

func (s Scope) toProto() *gridv1.Scope {
	if !s.Reports {
		return &gridv1.Scope{}
	}
	return &gridv1.Scope{Job: s.Shard.Job[:], Shard: s.Shard.Shard}
}

// ShardToProto names a shard in a request.
func ShardToProto(s jobs.ShardID) *gridv1.Scope { return Scope{Shard: s, Reports: true}.toProto() }

// ScopeFromProto reads a scope from a request.
func ScopeFromProto(p *gridv1.Scope) (Scope, error) {
	if len(p.GetJob()) == 0 {
		return Scope{}, nil
	}
	job, err := jobs.JobIDFromBytes(p.GetJob())
	if err != nil {
		return Scope{}, fmt.Errorf("job of a scope: %w", err)
	}
	return Scope{Shard: jobs.ShardID{Job: job, Shard: p.GetShard()}, Reports: true}, nil
}

// OfferToProto returns an offer as the protocol has it.
func OfferToProto(o Offer) *gridv1.Record { return recordToProto(o.Record, o.Chains) }

// OffersFromProto reads offers from an RPC; one malformed offer refuses all.
func OffersFromProto(list []*gridv1.Record) ([]Offer, error) {
	offers := make([]Offer, 0, len(list))
	for _, p := range list {
		o, err := offerFromProto(p)
		if err != nil {
			return nil, err
		}
		offers = append(offers, o)
	}
	return offers, nil
}

// RefusalsFromProto reads what a peer refused.
func RefusalsFromProto(list []*gridv1.Refusal) ([]Refusal, error) {
	refused := make([]Refusal, 0, len(list))
	for _, p := range list {
		id, err := jobs.DigestFromBytes(p.GetId())
		if err != nil {
			return nil, fmt.Errorf("refused record: %w", err)
		}
		refused = append(refused, Refusal{ID: id, Reason: p.GetReason(), Final: p.GetFinal()})
	}
	return refused, nil
}

// RefusalsToProto returns refusals as the protocol has them.
func RefusalsToProto(list []Refusal) []*gridv1.Refusal {
	var out []*gridv1.Refusal
	for _, r := range list {
		out = append(out, &gridv1.Refusal{Id: r.ID[:], Reason: r.Reason, Final: r.Final})
	}
	return out
}

// DigestsToProto returns digests as the protocol has them.
func DigestsToProto(list []jobs.Digest) [][]byte {
	var out [][]byte
	for _, d := range list {
		out = append(out, d[:])
	}
	return out
}
