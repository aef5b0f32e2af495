package gridtest

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/gossip"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

// Villain is a member of the pool with a good agent's certificate. It calls itself reachable, dials everybody
// back, and answers everything else as a test says.
type Villain struct {
	gridv1.UnimplementedMembersServer
	Identity *identity.Identity
	Dialer   *rpc.Dialer
	Gossip   *gossip.Gossip

	grid     *Grid
	leave    sync.Once
	listener *rpc.Listener
	server   *grpc.Server
	served   chan error
}

// Services are what a villain serves. It does not implement what is nil.
type Services struct {
	Steward gridv1.StewardServer
	Records gridv1.RecordsServer
	Blobs   gridv1.BlobsServer
}

// AddVillain makes a villain and waits until all see it; it leaves at the end of the test.
func (g *Grid) AddVillain(s func(*Villain) Services) *Villain {
	g.T.Helper()
	v := g.Intrude(s)
	g.AwaitPool(len(g.On()) + 1)
	return v
}

// Intrude makes a villain that joins by the coordinator, and does not wait until it is seen. It leaves at the end
// of the test, or before.
func (g *Grid) Intrude(s func(*Villain) Services) *Villain {
	g.T.Helper()
	id, voucher := g.issue(identity.Grant{Role: peer.Agent, Class: peer.AlwaysOn})
	v := &Villain{Identity: id, grid: g, served: make(chan error, 1)}
	ip := g.freeIP()
	network := g.network(ip)
	self := func() *identity.Identity { return id }
	v.Dialer = rpc.NewDialer(rpc.DialOptions{Identity: self, Root: id.Root, Dial: network.Dial})
	v.listener = rpc.Listen(network.Listener, rpc.ListenOptions{Identity: self, Log: g.log})
	v.server = rpc.NewServer(g.log, rpc.Told{})
	v.register(s(v))
	go func() { v.served <- v.server.Serve(v.listener.GRPC()) }()
	ends := id.Caller().NotAfter.Truncate(time.Second)
	var err error
	v.Gossip, err = gossip.New(gossip.Options{
		Key: id.Key, Boot: 1, Advertise: netip.MustParseAddrPort(address(ip)), Secrets: g.gossipKeys(),
		State: gossip.State{
			Voucher:   gossip.Voucher{Role: peer.Agent, Class: peer.AlwaysOn, NotAfter: ends, Signature: voucher},
			Reachable: true,
		},
		Packets: network.Packets, Streams: v.listener.Gossip(), Dial: v.Dialer.Stream, Log: g.log,
		VerifyVoucher: func(ed25519.PublicKey, peer.Role, peer.Class, time.Time, []byte) error { return nil },
	})
	g.must(err)
	g.T.Cleanup(v.Leave)
	_, err = v.Gossip.Join(context.Background(), []string{address(g.Coordinator.IP)})
	g.must(err)
	return v
}

func (v *Villain) register(s Services) {
	gridv1.RegisterMembersServer(v.server, v)
	if s.Steward != nil {
		gridv1.RegisterStewardServer(v.server, s.Steward)
	}
	if s.Records != nil {
		gridv1.RegisterRecordsServer(v.server, s.Records)
	}
	if s.Blobs != nil {
		gridv1.RegisterBlobsServer(v.server, s.Blobs)
	}
}

// Leave takes the villain out of the pool, without a word to it. Twice is harmless.
func (v *Villain) Leave() { v.leave.Do(v.end) }

func (v *Villain) end() {
	err := v.Gossip.Close()
	v.server.Stop()
	if err := errors.Join(err, <-v.served, v.listener.Close()); err != nil {
		v.grid.T.Errorf("close the villain: %v", err)
	}
	v.Dialer.Close()
}

// List shows the pool as it is.
func (v *Villain) List(context.Context, *gridv1.ListRequest) (*gridv1.ListReply, error) {
	reply := &gridv1.ListReply{}
	for _, m := range v.Gossip.Members() {
		reply.Members = append(reply.Members, &gridv1.Member{
			Id: m.ID[:], Address: m.Address, Role: gridv1.Role(m.Role), Class: gridv1.Class(m.Class),
			Reachable: m.Reachable, Draining: m.Draining, Cores: uint32(m.Cores), Version: uint32(m.Version),
		})
	}
	return reply, nil
}

// DialBack finds everybody reachable.
func (v *Villain) DialBack(context.Context, *gridv1.DialBackRequest) (*gridv1.DialBackReply, error) {
	return &gridv1.DialBackReply{}, nil
}

// Conn returns a connection to a machine, as the villain.
func (v *Villain) Conn(m *Machine) grpc.ClientConnInterface {
	v.grid.T.Helper()
	conn, err := v.Dialer.Conn(m.node.Address(), m.node.ID())
	v.grid.must(err)
	return conn
}

// FirstSteward changes a manifest's name until the villain is the first steward of the job.
func (v *Villain) FirstSteward(m *manifest.Manifest) {
	members := v.grid.Coordinator.node.Members()
	for i := 0; ; i++ {
		m.Name = fmt.Sprint("job-", i)
		payload, err := m.Encode()
		v.grid.must(err)
		job := jobs.JobID(jobs.DigestOf(payload))
		if peer.Stewards(jobs.ShardID{Job: job}, members)[0].ID == v.Identity.ID() {
			return
		}
	}
}

// FirstHolder makes a program of which the villain is the first holder.
func (v *Villain) FirstHolder() []byte {
	members := v.grid.Coordinator.node.Members()
	for i := 0; ; i++ {
		program := fmt.Appendf(nil, "the villain's program %d", i)
		if peer.Holders(jobs.DigestOf(program), members, 1)[0].ID == v.Identity.ID() {
			return program
		}
	}
}
