package admission

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Options say what a Service needs.
type Options struct {
	Config     Config
	Authority  *identity.Authority
	Identity   func() *identity.Identity // the coordinator's own
	Store      *records.Store
	Blobs      blobs.Store
	Members    func() []peer.Member
	GossipKeys [][]byte
	// TokensSince is when the list of used tokens began to be kept: none of before is taken. Zero: with the grid.
	TokensSince time.Time
	// Seed hands a job to agents and returns to how many; fresh: it was admitted just now.
	Seed func(ctx context.Context, job jobs.JobID, fresh bool) int
	Log  *slog.Logger
}

// Service answers Coordinator calls. It is the blob policy of the coordinator too.
type Service struct {
	gridv1.UnimplementedCoordinatorServer
	o   Options
	log *slog.Logger

	mu      sync.Mutex // guards everything below
	pending map[jobs.JobID]*pending
}

var bucketTokens = []byte("tokens") // token ID → when it expires, seconds since 1970, big endian

// New returns the service. What was uploaded of jobs that were never admitted, the node forgot when it started.
func New(o Options) (*Service, error) {
	err := o.Store.DB().Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bucketTokens)
		return err
	})
	return &Service{o: o, log: o.Log.With("component", "admission"), pending: map[jobs.JobID]*pending{}}, err
}

// Enrol redeems a token.
func (s *Service) Enrol(ctx context.Context, req *gridv1.EnrolRequest) (*gridv1.EnrolReply, error) {
	if _, err := rpc.Allow(ctx, gridv1.Coordinator_Enrol_FullMethodName); err != nil {
		return nil, err
	}
	token, err := s.o.Authority.CheckToken(req.GetToken())
	if err != nil {
		return nil, err
	}
	if token.Role == peer.Agent {
		if err := s.roomForAgent(); err != nil {
			return nil, err
		}
	}
	// The request is checked before the token is used up, so that a mistake does not cost one.
	reply, err := s.issue(req.GetCsr(), token.Grant)
	if err != nil {
		return nil, err
	}
	if err := s.redeem(token, time.Now()); err != nil {
		return nil, err
	}
	s.log.Info("enrolled", "token", token.ID, "role", token.Role, "class", token.Class, "owner", token.Owner)
	return reply, nil
}

func (s *Service) roomForAgent() error {
	agents := 0
	for _, m := range s.o.Members() {
		if m.Role == peer.Agent {
			agents++
		}
	}
	if agents >= s.o.Config.MaxAgents {
		return jobs.WithHint(jobs.Errorf(jobs.Exhausted, "the pool has %d agents, its limit; several pools are not built", agents),
			"max_agents in the coordinator's %s sets the limit, up to 1000", ConfigFile)
	}
	return nil
}

// redeem notes a token as used, once, and forgets those that have expired.
func (s *Service) redeem(t identity.Token, now time.Time) error {
	if t.Minted.Before(s.o.TokensSince) {
		return jobs.WithHint(jobs.Errorf(jobs.Denied, "this token is older than the coordinator's disk, which was restored on %s: "+
			"whether it was used is not known", s.o.TokensSince.Format(time.DateTime)), "ask the operator for a new one: `gridcoordinator token`")
	}
	return s.o.Store.DB().Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketTokens)
		if b.Get([]byte(t.ID)) != nil {
			return jobs.WithHint(jobs.Errorf(jobs.Denied, "this token was used already"),
				"each machine needs a token of its own: `gridcoordinator token`")
		}
		var old [][]byte
		err := b.ForEach(func(k, v []byte) error {
			if len(v) == 8 && int64(binary.BigEndian.Uint64(v)) < now.Unix() {
				old = append(old, k)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range old {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return b.Put([]byte(t.ID), binary.BigEndian.AppendUint64(nil, uint64(t.Expires.Unix())))
	})
}

// Renew issues a new certificate that says what the caller's own says. The key must be the same.
func (s *Service) Renew(ctx context.Context, req *gridv1.RenewRequest) (*gridv1.EnrolReply, error) {
	who, err := rpc.Allow(ctx, gridv1.Coordinator_Renew_FullMethodName)
	if err != nil {
		return nil, err
	}
	key, err := identity.ParseRequest(req.GetCsr())
	if err != nil {
		return nil, err
	}
	if !key.Equal(who.Key) {
		return nil, jobs.Errorf(jobs.Denied, "renewal is for the caller's own key only")
	}
	s.log.Info("renewed", "id", who.ID, "role", who.Role)
	return s.issue(req.GetCsr(), identity.Grant{Role: who.Role, Class: who.Class, Owner: who.Owner})
}

func (s *Service) issue(csr []byte, g identity.Grant) (*gridv1.EnrolReply, error) {
	id, voucher, err := Issue(s.o.Authority, csr, g)
	if err != nil {
		return nil, err
	}
	reply := &gridv1.EnrolReply{Chain: &gridv1.Chain{Certificates: id}, Root: s.o.Authority.Root()}
	if g.Role == peer.Agent {
		reply.Voucher, reply.GossipKeys = voucher, s.o.GossipKeys
	}
	for _, m := range s.o.Members() {
		reply.Peers = append(reply.Peers, m.Address)
	}
	return reply, nil
}

// Issue makes a certificate chain and the voucher that goes with it.
func Issue(a *identity.Authority, csr []byte, g identity.Grant) (chain [][]byte, voucher []byte, err error) {
	if chain, err = a.Issue(csr, g, identity.CertificateLife); err != nil {
		return nil, nil, err
	}
	if g.Role != peer.Agent && g.Role != peer.Coordinator {
		return chain, nil, nil
	}
	who, err := identity.VerifyAuthor(chain, a.Root())
	if err != nil {
		return nil, nil, err
	}
	voucher, err = a.Voucher(identity.Voucher{Key: who.Key, Role: g.Role, Class: g.Class, NotAfter: who.NotAfter.Truncate(time.Second)})
	return chain, voucher, err
}
