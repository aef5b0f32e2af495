package node

import (
	"context"
	"net/netip"
	"sync"
	"time"

	grpcpeer "google.golang.org/grpc/peer"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxDialBacks bounds the dials for others at once. For one caller there is one at a time, of at most
	// dialBackTimeout, and dialBackEvery between two: nobody shall take all the room, or make a peer knock at
	// many doors.
	maxDialBacks    = 8
	dialBackTimeout = callTimeout / 2
	dialBackEvery   = time.Second
)

// members answers Members calls.
type members struct {
	gridv1.UnimplementedMembersServer
	node  *Node
	dials chan struct{} // one for each dial back

	mu     sync.Mutex               // guards dialed
	dialed map[jobs.KeyID]time.Time // when the last dial for a caller ended; zero: it is under way
}

func newMembers(n *Node) *members {
	return &members{node: n, dials: make(chan struct{}, maxDialBacks), dialed: map[jobs.KeyID]time.Time{}}
}

// List returns the pool as this peer sees it.
func (s *members) List(ctx context.Context, _ *gridv1.ListRequest) (*gridv1.ListReply, error) {
	if _, err := rpc.Allow(ctx, gridv1.Members_List_FullMethodName); err != nil {
		return nil, err
	}
	reply := &gridv1.ListReply{}
	for _, m := range s.node.Members() {
		reply.Members = append(reply.Members, memberToProto(m))
	}
	return reply, nil
}

// DialBack dials the address and makes sure that the caller itself answers there. Denied and NotFound mean
// that it cannot be reached there; any other error says nothing of that.
func (s *members) DialBack(ctx context.Context, req *gridv1.DialBackRequest) (*gridv1.DialBackReply, error) {
	who, err := rpc.Allow(ctx, gridv1.Members_DialBack_FullMethodName)
	if err != nil {
		return nil, err
	}
	if err := onItsOwnMachine(ctx, req.GetAddress()); err != nil {
		return nil, err
	}
	done, err := s.enterDialBack(who.ID)
	if err != nil {
		return nil, err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, dialBackTimeout)
	defer cancel()
	conn, err := s.node.Dialer.Conn(req.GetAddress(), who.ID)
	if err != nil {
		return nil, err
	}
	if _, err := gridv1.NewMembersClient(conn).List(ctx, &gridv1.ListRequest{}); err != nil {
		return nil, jobs.Errorf(jobs.NotFound, "dial back %s: %w", req.GetAddress(), err)
	}
	return &gridv1.DialBackReply{}, nil
}

// onItsOwnMachine refuses to dial another machine than the one that the call comes from.
func onItsOwnMachine(ctx context.Context, address string) error {
	dial, err := netip.ParseAddrPort(address)
	if err != nil {
		return jobs.Errorf(jobs.Invalid, "address to dial back: %w", err)
	}
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return jobs.Errorf(jobs.Internal, "a call without an address that it comes from")
	}
	from, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return jobs.Errorf(jobs.Internal, "address that a call comes from: %w", err)
	}
	if !sameMachine(dial.Addr(), from.Addr()) {
		return jobs.WithHint(jobs.Errorf(jobs.Denied, "%s asks to be dialled at %s", from.Addr(), dial),
			"name the address that others reach this machine at with --advertise IP:port")
	}
	return nil
}

// sameMachine compares addresses as a listener for IPv4 and IPv6 sees them. All of loopback is one machine.
func sameMachine(a, b netip.Addr) bool {
	a, b = a.Unmap().WithZone(""), b.Unmap().WithZone("")
	return a == b || a.IsLoopback() && b.IsLoopback()
}

// enterDialBack counts a dial back, or refuses it.
func (s *members) enterDialBack(caller jobs.KeyID) (done func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, ended := range s.dialed {
		if !ended.IsZero() && time.Since(ended) >= dialBackEvery {
			delete(s.dialed, id)
		}
	}
	if _, lately := s.dialed[caller]; lately {
		return nil, jobs.Errorf(jobs.Exhausted, "one dial back at a time, and one a second")
	}
	select {
	case s.dials <- struct{}{}:
	default:
		return nil, jobs.Errorf(jobs.Exhausted, "%d dial-backs at once, no room for more", maxDialBacks)
	}
	s.dialed[caller] = time.Time{}
	return func() { s.leaveDialBack(caller) }, nil
}

func (s *members) leaveDialBack(caller jobs.KeyID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dialed[caller] = time.Now()
	<-s.dials
}

// MembersFromProto reads a List reply, bounded by the hard limit of a pool.
func MembersFromProto(reply *gridv1.ListReply) ([]peer.Member, error) {
	const maxMembers = 1000
	if len(reply.GetMembers()) > maxMembers {
		return nil, jobs.Errorf(jobs.Invalid, "list of %d members, expected at most %d", len(reply.GetMembers()), maxMembers)
	}
	out := make([]peer.Member, 0, len(reply.GetMembers()))
	for _, m := range reply.GetMembers() {
		id, err := jobs.KeyIDFromBytes(m.GetId())
		if err != nil {
			return nil, err
		}
		out = append(out, peer.Member{
			ID: id, Address: m.GetAddress(), Role: peer.Role(m.GetRole()), Class: peer.Class(m.GetClass()),
			Reachable: m.GetReachable(), Draining: m.GetDraining(), Cores: int(m.GetCores()), Version: int(m.GetVersion()),
		})
	}
	return out, nil
}

// PeerPolicy is who may do what with blobs at an agent: agents, operators and the job's submitter read;
// agents and the coordinator write, for jobs that are live here and neither cancelled nor sealed.
type PeerPolicy struct {
	Store    *records.Store
	Draining func() string // why no blob is taken now; empty: they are; nil: they always are
}

// MaxBlob bounds a blob that a peer takes, in bytes.
const MaxBlob = 1 << 30

// MayRead implements blobs.Policy.
func (p PeerPolicy) MayRead(caller identity.Caller, job jobs.JobID) error {
	j, err := p.Store.Job(job)
	if err != nil {
		return err
	}
	if caller.Role == peer.Submitter && caller.ID != j.Manifest.Submitter {
		return jobs.Errorf(jobs.Denied, "job %s is another submitter's", job.Short())
	}
	return nil
}

// MayWrite implements blobs.Policy.
func (p PeerPolicy) MayWrite(caller identity.Caller, c blobs.Claim, b jobs.Blob) error {
	if caller.Role == peer.Submitter {
		return jobs.Errorf(jobs.Denied, "submitters give blobs to the coordinator")
	}
	if caller.Role != peer.Agent && c.Kind != blobs.Input {
		return jobs.Errorf(jobs.Denied, "packs and checkpoints are for agents")
	}
	if b.Size > MaxBlob {
		return jobs.Errorf(jobs.Exhausted, "blob of %d bytes, at most %d are taken", b.Size, MaxBlob)
	}
	if p.Draining != nil && p.Draining() != "" {
		return jobs.Errorf(jobs.Unavailable, "no blobs are taken here now") // why is told here alone
	}
	if err := p.Store.Runnable(c.Job); err != nil || c.Kind != blobs.Checkpoint {
		return err
	}
	job, err := p.Store.Job(c.Job)
	if err == nil && c.Unit >= job.Manifest.Units {
		err = jobs.Errorf(jobs.Invalid, "job %s has no unit %d", c.Job.Short(), c.Unit)
	}
	return err
}
