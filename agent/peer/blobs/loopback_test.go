package blobs_test

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"net"
	"testing"

	"google.golang.org/grpc"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/blobs/blobstest"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// machine is an agent as it runs: TCP, mutual TLS, gRPC and files.
type machine struct {
	peer.Member
	store  *blobs.Dir
	client *blobs.Client
	rules  rules
}

func newMachine(t testing.TB, grid *identitytest.Grid) *machine {
	id := grid.Agent()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{
		Member: peer.Member{ID: id.ID(), Address: l.Addr().String(), Role: peer.Agent, Class: peer.AlwaysOn, Reachable: true},
		store:  openDir(t, newFolder(t), 0),
	}
	m.client = blobs.NewClient(m.store, dialer(t, grid, id), id.Key)
	log := slog.New(slog.DiscardHandler)
	listener := rpc.Listen(l, rpc.ListenOptions{Identity: func() *identity.Identity { return id }, Log: log})
	server := rpc.NewServer(log, rpc.Told{})
	gridv1.RegisterBlobsServer(server, blobs.NewService(blobs.ServiceOptions{
		Store: m.store, Policy: &m.rules, Key: id.Key, Allow: rpc.Allow,
	}))
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener.GRPC()) }()
	t.Cleanup(func() {
		server.Stop()
		if err := errors.Join(<-ended, listener.Close()); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Error(err)
		}
	})
	return m
}

func dialer(t testing.TB, grid *identitytest.Grid, id *identity.Identity) *rpc.Dialer {
	d := rpc.NewDialer(rpc.DialOptions{Identity: func() *identity.Identity { return id }, Root: grid.Root()})
	t.Cleanup(d.Close)
	return d
}

// The whole way, as agents go it: a pack to two holders, and from one of them to a third peer.
func TestLoopback(t *testing.T) {
	grid := identitytest.NewGrid(t)
	author, a, z := newMachine(t, grid), newMachine(t, grid), newMachine(t, grid)
	b := blobstest.Put(t, author.store, job, content)
	all := []peer.Member{author.Member, a.Member, z.Member}
	receipts, err := author.client.Replicate(t.Context(), blobs.For(job), b, all, 3)
	if err != nil || len(receipts) != 3 {
		t.Fatalf("%d receipts, %v", len(receipts), err)
	}
	reader := newMachine(t, grid)
	wrong := z.Member
	wrong.ID = a.ID // somebody else answers there
	if err := reader.client.Fetch(t.Context(), blobs.For(job), b, []peer.Member{wrong}); jobs.KindOf(err) != jobs.Unavailable {
		t.Errorf("a peer with another key gave %v", err)
	}
	if err := reader.client.Fetch(t.Context(), blobs.For(job), b, []peer.Member{wrong, z.Member}); err != nil {
		t.Fatal(err)
	}
	if err := reader.store.Verify(b.Digest); err != nil {
		t.Error(err)
	}
}

// The table of roles counts here as everywhere (P10): operators read and do not write.
func TestLoopbackRoles(t *testing.T) {
	grid := identitytest.NewGrid(t)
	a := newMachine(t, grid)
	b := blobstest.Put(t, a.store, job, content)
	operator := grid.Role(peer.Operator, "it")
	store := blobs.NewMemory(0)
	d := dialer(t, grid, operator)
	if err := blobs.NewClient(store, d, operator.Key).Fetch(t.Context(), blobs.For(job), b, []peer.Member{a.Member}); err != nil {
		t.Error(err)
	}
	for id, kind := range map[*identity.Identity]jobs.ErrorKind{
		operator:                             jobs.Denied,
		grid.Role(peer.Submitter, "finance"): jobs.Corrupt, // may write, and sends nothing
	} {
		conn, err := dialer(t, grid, id).Conn(a.Address, a.ID)
		if err != nil {
			t.Fatal(err)
		}
		other := blobstest.BlobOf([]byte("other"))
		_, err = blobs.Send(t.Context(), blobs.Peer{Conn: conn, ID: a.ID}, job, other, bytes.NewReader(make([]byte, 5)))
		expectKind(t, err, kind)
	}
}

// BenchmarkDirPut is what a holder does for each pack: 64 KiB, three fsyncs.
func BenchmarkDirPut(b *testing.B) {
	for name, parallel := range map[string]int{"one": 0, "many": 8} {
		b.Run(name, func(b *testing.B) {
			s := openDir(b, newFolder(b), 0)
			b.SetBytes(64 << 10)
			if parallel == 0 {
				for b.Loop() {
					putRandom(b, s)
				}
				return
			}
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					putRandom(b, s)
				}
			})
		})
	}
}

func putRandom(b *testing.B, s blobs.Store) {
	data := make([]byte, 64<<10)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	copy(data, key)
	blobstest.Put(b, s, job, data)
}

// BenchmarkFetch brings 64 MiB over TLS on loopback, from files to files.
func BenchmarkFetch(b *testing.B) {
	grid := identitytest.NewGrid(b)
	from, to := newMachine(b, grid), newMachine(b, grid)
	blob := blobstest.Put(b, from.store, job, make([]byte, 64<<20))
	b.SetBytes(blob.Size)
	for b.Loop() {
		if err := to.client.Fetch(b.Context(), blobs.For(job), blob, []peer.Member{from.Member}); err != nil {
			b.Fatal(err)
		}
		if err := to.store.Delete(blob.Digest); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReplicate gives a pack of 64 KiB to three peers.
func BenchmarkReplicate(b *testing.B) {
	grid := identitytest.NewGrid(b)
	author := newMachine(b, grid)
	to := []peer.Member{newMachine(b, grid).Member, newMachine(b, grid).Member, newMachine(b, grid).Member}
	b.SetBytes(64 << 10)
	for b.Loop() {
		putRandom(b, author.store)
		blob := author.store.List()[0].Blob
		if _, err := author.client.Replicate(b.Context(), blobs.For(job), blob, to, len(to)); err != nil {
			b.Fatal(err)
		}
		if err := author.store.Delete(blob.Digest); err != nil {
			b.Fatal(err)
		}
	}
}
