package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"os"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const enrolTimeout = 30 * time.Second

// Enrol turns a one-time token into an identity and what belongs to it, and saves both in the folder. The
// key is made there and never leaves it. A role other than want is refused before the token is used up.
func Enrol(ctx context.Context, dir *os.Root, text string, want ...peer.Role) (*identity.Identity, Grid, error) {
	token, err := identity.ParseToken(text)
	if err != nil {
		return nil, Grid{}, err
	}
	if err := checkRole(token.Role, want); err != nil {
		return nil, Grid{}, err
	}
	if _, err := identity.Load(dir); err == nil {
		return nil, Grid{}, jobs.WithHint(jobs.Errorf(jobs.Exists, "%s has joined a grid already", dir.Name()),
			"remove that folder or name another to join anew")
	}
	key, made, err := identity.EnsureKey(dir)
	if err != nil {
		return nil, Grid{}, err
	}
	id, reply, err := enrol(ctx, token, text, key)
	if err != nil {
		if made && refused(err) {
			err = errors.Join(err, identity.RemoveKey(dir))
		}
		return nil, Grid{}, err
	}
	grid := Grid{GossipKeys: reply.GetGossipKeys(), Voucher: reply.GetVoucher(), Coordinators: token.Addresses}
	return id, grid, errors.Join(SaveGrid(dir, grid), SavePeers(dir, reply.GetPeers()), id.Save(dir))
}

// refused reports whether an error is a no, and not one that leaves open what the coordinator did.
func refused(err error) bool {
	switch jobs.KindOf(err) {
	case jobs.Denied, jobs.Exists, jobs.Expired, jobs.Invalid, jobs.Exhausted:
		return true
	default:
		return errors.Is(err, identity.ErrOtherGrid)
	}
}

// enrol shows a token to the coordinator and returns what it gave.
func enrol(ctx context.Context, token identity.Token, text string, key ed25519.PrivateKey) (*identity.Identity, *gridv1.EnrolReply, error) {
	csr, err := identity.Request(key)
	if err != nil {
		return nil, nil, err
	}
	dialer := rpc.NewDialer(rpc.DialOptions{Identity: func() *identity.Identity { return nil }, Pin: token.Root})
	defer dialer.Close()
	reply, err := firstAnswer(ctx, dialer, token.Addresses, func(ctx context.Context, c gridv1.CoordinatorClient) (*gridv1.EnrolReply, error) {
		return c.Enrol(ctx, &gridv1.EnrolRequest{Token: text, Csr: csr})
	})
	if err != nil {
		return nil, nil, err
	}
	if jobs.DigestOf(reply.GetRoot()) != token.Root {
		return nil, nil, jobs.Errorf(jobs.Corrupt, "the coordinator's root certificate is not the token's")
	}
	id, err := identity.New(key, reply.GetChain().GetCertificates(), reply.GetRoot())
	return id, reply, err
}

func checkRole(role peer.Role, want []peer.Role) error {
	for _, w := range want {
		if role == w {
			return nil
		}
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "this token is for the role %s, expected %s", role, want[0]),
		"agents join with `gridagent join`, people with `gridctl login`; ask the operator for a token of the right role")
}

// firstAnswer calls the coordinator at the first address that answers.
func firstAnswer(
	ctx context.Context, d *rpc.Dialer, addresses []string,
	call func(context.Context, gridv1.CoordinatorClient) (*gridv1.EnrolReply, error),
) (*gridv1.EnrolReply, error) {
	ctx, cancel := context.WithTimeout(ctx, enrolTimeout)
	defer cancel()
	err := jobs.Errorf(jobs.Unavailable, "no address of a coordinator is known")
	for _, address := range addresses {
		var conn grpc.ClientConnInterface
		if conn, err = d.Conn(address, jobs.KeyID{}); err != nil {
			return nil, err
		}
		var reply *gridv1.EnrolReply
		if reply, err = call(ctx, gridv1.NewCoordinatorClient(conn)); jobs.KindOf(err) != jobs.Unavailable {
			return reply, err
		}
	}
	if jobs.HintOf(err) != "" {
		return nil, err
	}
	return nil, jobs.WithHint(err, "is the coordinator running, and is its port open from here?")
}

// Renew asks the coordinator for a new certificate for the same key.
func Renew(ctx context.Context, d *rpc.Dialer, old *identity.Identity, addresses []string) (*identity.Identity, []byte, error) {
	csr, err := identity.Request(old.Key)
	if err != nil {
		return nil, nil, err
	}
	reply, err := firstAnswer(ctx, d, addresses, func(ctx context.Context, c gridv1.CoordinatorClient) (*gridv1.EnrolReply, error) {
		return c.Renew(ctx, &gridv1.RenewRequest{Csr: csr})
	})
	if err != nil {
		return nil, nil, err
	}
	id, err := identity.New(old.Key, reply.GetChain().GetCertificates(), old.Root)
	return id, reply.GetVoucher(), err
}
