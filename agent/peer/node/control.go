package node

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// AllowSelf refuses every caller of a Control method but this peer itself: who has its key has its state folder.
func (n *Node) AllowSelf(ctx context.Context, method string) error {
	who, err := rpc.Allow(ctx, method)
	if err != nil {
		return err
	}
	if who.ID != n.ID() {
		return jobs.WithHint(jobs.Errorf(jobs.Denied, "%s is for %s itself, not for %s", method, n.ID().Short(), who.ID.Short()),
			"run this on its own machine, with --state naming its state folder")
	}
	return nil
}

// Status returns what a node knows of itself; whoever owns the node adds the rest.
func (n *Node) Status() *gridv1.StatusReply {
	id := n.Identity()
	root, clock, used := jobs.DigestOf(id.Root), n.Clock(), n.Blobs.Usage()
	reply := &gridv1.StatusReply{
		Root: root[:], StartedMs: n.started.UnixMilli(), DrainingWhy: n.Draining(),
		Clock: &gridv1.ClockStatus{AheadMs: clock.Ahead.Milliseconds(), Compared: uint32(clock.Compared), Off: clock.Off},
		Disk:  &gridv1.DiskStatus{Blobs: uint64(used.Blobs), Bytes: uint64(used.Bytes), Quota: uint64(used.Quota)},

		CertificateEndsMs: id.Caller().NotAfter.UnixMilli(), CertificateRenewsMs: id.RenewAt().UnixMilli(),
		LiveJobs: uint32(len(n.Store.Jobs(false))),
	}
	members := n.Members()
	for _, m := range members {
		reply.Members = append(reply.Members, memberToProto(m))
		if m.ID == n.ID() {
			reply.Self = memberToProto(m)
		}
	}
	if reply.Self == nil { // it has left the pool
		c := id.Caller()
		reply.Self = memberToProto(peer.Member{ID: c.ID, Address: n.Address(), Role: c.Role, Class: c.Class, Version: peer.Version})
	}
	if why := n.unreachable.Load(); why != nil {
		reply.UnreachableWhy = *why
	}
	return reply
}

// ErrNotRunning says that nothing runs on a state folder.
var ErrNotRunning = errors.New("nothing runs on this state folder")

// controlTimeout bounds the connection to a peer on this machine.
const controlTimeout = 5 * time.Second

// WithControl calls f with a connection to the peer that runs on a state folder, made with that folder's own
// key. Where none runs the error is ErrNotRunning.
func WithControl(ctx context.Context, state string, f func(context.Context, gridv1.ControlClient) error) error {
	dir, id, err := openIdentity(state)
	if err != nil {
		return err
	}
	address, err := LoadAddresses(dir)
	runs, runsErr := Running(state)
	if err := errors.Join(runsErr, dir.Close()); err != nil {
		return err
	}
	switch {
	case !runs:
		return ErrNotRunning
	case err != nil:
		return jobs.WithHint(err, "it starts or stops just now, try again")
	}
	dialer := rpc.NewDialer(rpc.DialOptions{Identity: func() *identity.Identity { return id }, Root: id.Root})
	defer dialer.Close()
	conn, err := dialer.Conn(address.Local, id.ID())
	if err != nil {
		return err
	}
	return f(ctx, gridv1.NewControlClient(conn))
}

// AskStatus asks the peer that runs on a state folder how it is.
func AskStatus(ctx context.Context, state string) (*gridv1.StatusReply, error) {
	var reply *gridv1.StatusReply
	err := WithControl(ctx, state, func(ctx context.Context, c gridv1.ControlClient) error {
		ctx, cancel := context.WithTimeout(ctx, controlTimeout)
		defer cancel()
		var err error
		reply, err = c.Status(ctx, &gridv1.StatusRequest{})
		return err
	})
	return reply, err
}

// WhoIs returns whose state folder this is, whether it runs or not.
func WhoIs(state string) (*identity.Identity, error) {
	dir, id, err := openIdentity(state)
	if err != nil {
		return nil, err
	}
	return id, dir.Close()
}

func openIdentity(state string) (*os.Root, *identity.Identity, error) {
	dir, err := os.OpenRoot(state)
	if errors.Is(err, fs.ErrPermission) {
		return nil, nil, jobs.WithHint(jobs.Errorf(jobs.Denied, "open state folder: %w", err), "run this as the user whom the service runs as")
	}
	if err != nil {
		return nil, nil, notJoined(err)
	}
	id, err := identity.Load(dir)
	if err != nil {
		return nil, nil, errors.Join(notJoined(err), dir.Close())
	}
	return dir, id, nil
}

// Running reports whether a process has a state folder in use.
func Running(state string) (bool, error) { return records.InUse(filepath.Join(state, recordsFile)) }

func memberToProto(m peer.Member) *gridv1.Member {
	return &gridv1.Member{
		Id: m.ID[:], Address: m.Address, Role: gridv1.Role(m.Role), Class: gridv1.Class(m.Class),
		Reachable: m.Reachable, Draining: m.Draining, Cores: uint32(m.Cores), Version: uint32(m.Version),
	}
}
