package records

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// batchBytes bounds one message of records, well below the largest message that peers take.
	batchBytes = 1 << 20
	// maxIDs bounds an ID list from a peer: more than a full shard of single-bundle reports, twice.
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
// peer refused.
func (s *Store) Sync(ctx context.Context, conn grpc.ClientConnInterface, scope Scope, dir Direction) ([]Refusal, error) {
	client := gridv1.NewRecordsClient(conn)
	digest := s.Digest(scope)
	reply, err := client.Sync(ctx, &gridv1.SyncRequest{Scope: scope.toProto(), Digest: digest[:]})
	if err != nil {
		return nil, err
	}
	if reply.GetEqual() {
		return nil, nil
	}
	theirs, err := idSet(reply.GetIds())
	if err != nil {
		return nil, err
	}
	var refused []Refusal
	var push []jobs.Digest
	for _, id := range s.IDs(scope) {
		if !theirs[id] {
			push = append(push, id)
		}
		delete(theirs, id)
	}
	if refused, err = s.push(ctx, client, push); err != nil {
		return refused, err
	}
	if dir == Offering || len(theirs) == 0 {
		return refused, nil
	}
	var want [][]byte
	for id := range theirs {
		want = append(want, id[:])
	}
	return refused, s.pull(ctx, client, &gridv1.PullRequest{Scope: scope.toProto(), Ids: want})
}

// Pull fetches records by ID from a peer and keeps the valid ones.
func (s *Store) Pull(ctx context.Context, conn grpc.ClientConnInterface, scope Scope, ids ...jobs.Digest) error {
	req := &gridv1.PullRequest{Scope: scope.toProto()}
	for _, id := range ids {
		req.Ids = append(req.Ids, id[:])
	}
	return s.pull(ctx, gridv1.NewRecordsClient(conn), req)
}

func (s *Store) pull(ctx context.Context, client gridv1.RecordsClient, req *gridv1.PullRequest) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := client.Pull(ctx, req)
	if err != nil {
		return err
	}
	for {
		reply, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
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

// eachBatch reads records and hands them on in batches; one that was forgotten meanwhile is left out.
func (s *Store) eachBatch(ids []jobs.Digest, send func([]*gridv1.Record) error) error {
	var batch []*gridv1.Record
	size := 0
	for _, id := range ids {
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

func idSet(list [][]byte) (map[jobs.Digest]bool, error) {
	if len(list) > maxIDs {
		return nil, jobs.Errorf(jobs.Invalid, "list of %d record IDs, expected at most %d", len(list), maxIDs)
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
	return Scope{Shard: jobs.ShardID{Job: job, Shard: p.GetShard()}, Reports: true}, err
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
