package records

import (
	"context"
	"math/rand/v2"
	"slices"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/failpoint"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// Service answers Records calls from a store.
type Service struct {
	gridv1.UnimplementedRecordsServer
	store *Store
}

// NewService returns the service of a store.
func NewService(s *Store) *Service { return &Service{store: s} }

// Sync compares the caller's digest of a scope with this peer's.
func (s *Service) Sync(ctx context.Context, req *gridv1.SyncRequest) (*gridv1.SyncReply, error) {
	if _, err := rpc.Allow(ctx, gridv1.Records_Sync_FullMethodName); err != nil {
		return nil, err
	}
	scope, err := ScopeFromProto(req.GetScope())
	if err != nil {
		return nil, err
	}
	theirs, err := jobs.DigestFromBytes(req.GetDigest())
	if err != nil {
		return nil, err
	}
	reply := &gridv1.SyncReply{Equal: theirs == s.store.Digest(scope), NowMs: s.store.o.Clock().UnixMilli()}
	if !reply.GetEqual() {
		ids := s.store.IDs(scope)
		if len(req.GetOffered()) > 0 {
			offered, err := idSet(req.GetOffered(), maxIDs)
			if err != nil {
				return nil, err
			}
			ids = slices.DeleteFunc(ids, func(id jobs.Digest) bool { return !offered[id] })
		}
		reply.Ids = DigestsToProto(window(ids, rand.IntN(len(ids)+1), maxIDs))
	}
	return reply, nil
}

// Push keeps what is offered by those who may push it, see mayPush.
func (s *Service) Push(ctx context.Context, req *gridv1.PushRequest) (*gridv1.PushReply, error) {
	who, err := rpc.Allow(ctx, gridv1.Records_Push_FullMethodName)
	if err != nil {
		return nil, err
	}
	offers, err := OffersFromProto(req.GetRecords())
	if err != nil {
		return nil, err
	}
	for _, o := range offers {
		if err := mayPush(who.Role, o.Envelope.Type); err != nil {
			return nil, err
		}
	}
	kept, refused, err := s.store.Add(ctx, offers, req.GetFresh() && who.Role == peer.Coordinator)
	if err != nil {
		return nil, err
	}
	failpoint.Hit("records.answering")
	return &gridv1.PushReply{Kept: DigestsToProto(kept), Refused: RefusalsToProto(refused)}, nil
}

// mayPush says what a role may bring here: people their own words, which the store looks at once more, and
// peers anything. Manifests of submitters go through the coordinator.
func mayPush(role peer.Role, typ string) error {
	switch {
	case role == peer.Agent, role == peer.Coordinator,
		role == peer.Submitter && (typ == record.TypeRuling || typ == record.TypeCancel || typ == record.TypeSeal),
		role == peer.Operator && typ == record.TypeCancel:
		return nil
	}
	return jobs.Errorf(jobs.Denied, "the role %s may not push %.80q", role, typ)
}

// Pull streams records, all of a scope or by ID.
func (s *Service) Pull(req *gridv1.PullRequest, stream gridv1.Records_PullServer) error {
	who, err := rpc.Allow(stream.Context(), gridv1.Records_Pull_FullMethodName)
	if err != nil {
		return err
	}
	scope, err := ScopeFromProto(req.GetScope())
	if err != nil {
		return err
	}
	ids := s.store.IDs(scope)
	if len(req.GetIds()) > 0 {
		want, err := idSet(req.GetIds(), maxIDs)
		if err != nil {
			return err
		}
		ids = keepOnly(ids, want)
	}
	ids = s.readable(who, ids)
	return s.store.eachBatch(ids, func(batch []*gridv1.Record) error {
		return stream.Send(&gridv1.PullReply{Records: batch})
	})
}

func keepOnly(ids []jobs.Digest, want map[jobs.Digest]bool) []jobs.Digest {
	var out []jobs.Digest
	for _, id := range ids {
		if want[id] {
			out = append(out, id)
		}
	}
	return out
}

// readable leaves a submitter the records of its own jobs.
func (s *Service) readable(who identity.Caller, ids []jobs.Digest) []jobs.Digest {
	if who.Role != peer.Submitter {
		return ids
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	var out []jobs.Digest
	for _, id := range ids {
		k := s.store.index[id]
		if j := s.store.jobs[jobs.JobID(k[:32])]; j != nil && j.Manifest.Submitter == who.ID {
			out = append(out, id)
		}
	}
	return out
}
