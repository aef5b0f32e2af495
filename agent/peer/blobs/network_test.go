package blobs_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

var (
	job      = blobstest.Job(1)
	otherJob = blobstest.Job(2)
)

// inBubble runs a test in virtual time: peers that stall cost nothing, and a goroutine that outlives the test
// fails it.
func inBubble(t *testing.T, test func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newNetwork(t)) })
}

// network connects peers by buffers in memory. It is their Dialer.
type network struct {
	t testing.TB

	mu        sync.Mutex // guards everything below
	listeners map[string]*bufconn.Listener
	conns     map[string]*grpc.ClientConn
}

func newNetwork(t testing.TB) *network {
	return &network{t: t, listeners: map[string]*bufconn.Listener{}, conns: map[string]*grpc.ClientConn{}}
}

// node is one peer: with a store and a service, or one that behaves as a test wants.
type node struct {
	peer.Member
	key   ed25519.PrivateKey
	store *blobs.Memory
	rules rules
}

// rules is a Policy whose answers a test may set.
type rules struct {
	allow, read, write error
	crowd              bool       // each call is another caller's
	caller             jobs.KeyID // zero: some agent
}

// check is the service's Allow.
func (r *rules) check(context.Context, string) (identity.Caller, error) {
	c := identity.Caller{ID: r.caller, Role: peer.Agent}
	if r.caller.IsZero() {
		c.ID = jobs.KeyID{1}
	}
	if r.crowd {
		_, _ = rand.Read(c.ID[:]) // never fails, says its package
	}
	return c, r.allow
}

func (r *rules) MayRead(identity.Caller, jobs.JobID) error              { return r.read }
func (r *rules) MayWrite(identity.Caller, blobs.Claim, jobs.Blob) error { return r.write }

func (n *network) node(name string) *node {
	seed := sha256.Sum256([]byte(name))
	key := ed25519.NewKeyFromSeed(seed[:])
	id := identity.KeyIDOf(key.Public().(ed25519.PublicKey))
	return &node{Member: peer.Member{ID: id, Address: name}, key: key}
}

// honest starts a peer with a real service.
func (n *network) honest(name string) *node {
	return n.small(name, 0)
}

// small is an honest peer whose store has a quota.
func (n *network) small(name string, quota int64) *node {
	p := n.node(name)
	p.store = blobs.NewMemory(quota)
	n.serve(name, blobs.NewService(blobs.ServiceOptions{
		Store: p.store, Policy: &p.rules, Key: p.key, Allow: p.rules.check,
	}))
	return p
}

// fake is a peer that does what a test wants.
type fake struct {
	gridv1.UnimplementedBlobsServer
	mu   sync.Mutex
	gets int // calls of Get

	get func(stream gridv1.Blobs_GetServer) error
	put func(stream gridv1.Blobs_PutServer) (*gridv1.PutReply, error)
}

func (f *fake) Get(_ *gridv1.GetRequest, stream gridv1.Blobs_GetServer) error {
	f.mu.Lock()
	f.gets++
	f.mu.Unlock()
	return f.get(stream)
}

func (f *fake) Put(stream gridv1.Blobs_PutServer) error {
	reply, err := f.put(stream)
	if err != nil {
		return err
	}
	return stream.SendAndClose(reply)
}

func (n *network) fake(name string, f *fake) *node {
	n.serve(name, f)
	return n.node(name)
}

func (n *network) serve(name string, s gridv1.BlobsServer) {
	l := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.WaitForHandlers(true), grpc.StreamInterceptor(
		func(srv any, s grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
			return rpc.ToStatus(h(srv, s))
		}), grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
			reply, err := h(ctx, req)
			return reply, rpc.ToStatus(err)
		}))
	gridv1.RegisterBlobsServer(server, s)
	var group sync.WaitGroup
	group.Go(func() {
		// A test may be over before its server began.
		if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			n.t.Errorf("serve: %v", err)
		}
	})
	n.t.Cleanup(func() { server.Stop(); group.Wait() })
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[name] = l
}

// Conn implements blobs.Dialer. An address where nobody listens cannot be reached.
func (n *network) Conn(addr string, _ jobs.KeyID) (grpc.ClientConnInterface, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c, ok := n.conns[addr]; ok {
		return translated{c}, nil
	}
	l, ok := n.listeners[addr]
	c, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			if !ok {
				return nil, fmt.Errorf("nobody listens at %s", addr)
			}
			return l.DialContext(ctx)
		}))
	if err != nil {
		return nil, err
	}
	n.conns[addr] = c
	n.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			n.t.Error(err)
		}
	})
	return translated{c}, nil
}

// translated turns status errors into errors of package jobs, as a connection of rpc.Dialer does.
type translated struct{ *grpc.ClientConn }

func (c translated) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return rpc.FromStatus(c.ClientConn.Invoke(ctx, method, args, reply, opts...))
}

func (c translated) NewStream(
	ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := c.ClientConn.NewStream(ctx, desc, method, opts...)
	return translatedStream{s}, rpc.FromStatus(err)
}

type translatedStream struct{ grpc.ClientStream }

func (s translatedStream) SendMsg(m any) error { return rpc.FromStatus(s.ClientStream.SendMsg(m)) }
func (s translatedStream) RecvMsg(m any) error { return rpc.FromStatus(s.ClientStream.RecvMsg(m)) }

// raw returns the protocol's own client to a peer.
func (n *network) raw(p *node) gridv1.BlobsClient {
	n.t.Helper()
	c, err := n.Conn(p.Address, p.ID)
	if err != nil {
		n.t.Fatal(err)
	}
	return gridv1.NewBlobsClient(c)
}

// client returns a peer that only calls, and its client.
func (n *network) client(quota int64) (*node, *blobs.Client) {
	p := n.node("self")
	p.store = blobs.NewMemory(quota)
	return p, blobs.NewClient(p.store, n, p.key)
}

func members(nodes ...*node) []peer.Member {
	list := make([]peer.Member, 0, len(nodes))
	for _, p := range nodes {
		list = append(list, p.Member)
	}
	return list
}

// header returns the first message of a Put.
func header(job jobs.JobID, b jobs.Blob) *gridv1.PutRequest {
	return &gridv1.PutRequest{Header: &gridv1.PutHeader{Job: job[:], Blob: record.BlobToProto(b)}}
}

// sends returns a Get that sends these messages and then stands still.
func sends(stall bool, parts ...[]byte) func(gridv1.Blobs_GetServer) error {
	return func(stream gridv1.Blobs_GetServer) error {
		for _, data := range parts {
			if err := stream.Send(&gridv1.GetReply{Data: data}); err != nil {
				return err
			}
		}
		if stall {
			<-stream.Context().Done()
		}
		return nil
	}
}

// drain reads a Put to its end.
func drain(stream gridv1.Blobs_PutServer) error {
	for {
		if _, err := stream.Recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func expectKind(t *testing.T, err error, kind jobs.ErrorKind) {
	t.Helper()
	if err == nil || jobs.KindOf(err) != kind {
		t.Errorf("got error %v (%v), expected one of kind %v", err, jobs.KindOf(err), kind)
	}
}
