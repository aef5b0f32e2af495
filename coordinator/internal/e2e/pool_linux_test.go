package e2e_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/gossip"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/agent/peer/steward"
	"idlegrid/coordinator/internal/admission"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// Agents of a benchmark have addresses of their own, as on machines of their own: what a peer takes from one address is
// bounded. The coordinator has its usual one, which its streams come from.
var coordinatorIP = netip.MustParseAddr("127.0.0.1")

func agentIP(i int) netip.Addr { return netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}) }

// wire counts what a coordinator and agents say to each other, both ways, at the agents: payloads of UDP, and TLS records
// with the handshakes.
type wire struct{ bytes atomic.Int64 }

// network makes the network of an agent.
func (w *wire) network(t testing.TB, i int) node.Network {
	t.Helper()
	n, err := node.Listen(netip.AddrPortFrom(agentIP(i), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: agentIP(i).AsSlice()}}
	n.Listener, n.Packets = wiredListener{n.Listener, w}, wiredPackets{n.Packets, w}
	n.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		return w.stream(from.DialContext(ctx, "tcp", address))
	}
	return n
}

// stream counts what a stream carries, if it is the coordinator's.
func (w *wire) stream(c net.Conn, err error) (net.Conn, error) {
	if err == nil && isCoordinator(c.RemoteAddr()) {
		return wiredStream{c, w}, nil
	}
	return c, err
}

func isCoordinator(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	return err == nil && at.Addr().Unmap() == coordinatorIP
}

type wiredListener struct {
	net.Listener
	w *wire
}

func (l wiredListener) Accept() (net.Conn, error) { return l.w.stream(l.Listener.Accept()) }

type wiredStream struct {
	net.Conn
	w *wire
}

func (s wiredStream) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	s.w.bytes.Add(int64(n))
	return n, err
}

func (s wiredStream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.w.bytes.Add(int64(n))
	return n, err
}

type wiredPackets struct {
	net.PacketConn
	w *wire
}

func (p wiredPackets) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := p.PacketConn.ReadFrom(b)
	if err == nil && isCoordinator(from) {
		p.w.bytes.Add(int64(n))
	}
	return n, from, err
}

func (p wiredPackets) WriteTo(b []byte, to net.Addr) (int, error) {
	if isCoordinator(to) {
		p.w.bytes.Add(int64(len(b)))
	}
	return p.PacketConn.WriteTo(b, to)
}

// enrolled makes somebody's identity with the coordinator's keys, as a token would.
func (g *grid) enrolled(grant identity.Grant) (*identity.Identity, node.Grid) {
	g.t.Helper()
	dir, err := os.OpenRoot(g.coordinator.state)
	if err != nil {
		g.t.Fatal(err)
	}
	authority, err := identity.Open(dir)
	known, gridErr := node.LoadGrid(dir)
	key, keyErr := identity.NewKey()
	if err := errors.Join(err, gridErr, keyErr, dir.Close()); err != nil {
		g.t.Fatal(err)
	}
	csr, err := identity.Request(key)
	if err != nil {
		g.t.Fatal(err)
	}
	chain, voucher, err := admission.Issue(authority, csr, grant)
	if err != nil {
		g.t.Fatal(err)
	}
	id, err := identity.New(key, chain, authority.Root())
	if err != nil {
		g.t.Fatal(err)
	}
	return id, node.Grid{GossipKeys: known.GossipKeys, Voucher: voucher, Coordinators: []string{g.coordinator.addresses().Grid}}
}

const (
	poolJobs = records.MaxJobs
	poolRuns = 100
	// jobUnits is how many units a job has. Half of those of one that runs are done.
	jobUnits = 100
	// submitters share the jobs.
	submitters = 100
)

// stewards are a pool of simulated agents. Each is a member by the gossip package itself, with the settings of all, and
// once a minute compares records with one member by chance, as agents do; that is a call if the chance is the
// coordinator's. To the coordinator they answer what agents would that have all records and know how far each job is. What
// agents say to each other beside gossip is not simulated: that each of 500 keeps 10,000 manifests is for 500 machines.
// Not simulated either is what of the coordinator an agent asks once a week, a new certificate.
type stewards struct {
	gridv1.UnimplementedStewardServer
	gridv1.UnimplementedRecordsServer
	gridv1.UnimplementedMembersServer
	g       *grid
	began   time.Time
	wire    wire
	ids     []jobs.AgentID
	running map[jobs.JobID]int // numbers of those that run; the coordinator is off when it is written
	digest  atomic.Pointer[[]byte]
}

// admit puts jobs into the records of the coordinator, which is off.
func (s *stewards) admit() {
	g := s.g
	g.t.Helper()
	dir, err := os.OpenRoot(g.coordinator.state)
	if err != nil {
		g.t.Fatal(err)
	}
	self, err := identity.Load(dir)
	if err = errors.Join(err, dir.Close()); err != nil {
		g.t.Fatal(err)
	}
	store, err := records.Open(records.Options{
		Path: filepath.Join(g.coordinator.state, "records.db"), Root: self.Root, Self: self.ID(),
		Members: func() []peer.Member { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		g.t.Fatal(err)
	}
	for i := range submitters {
		by, _ := g.enrolled(identity.Grant{Role: peer.Submitter, Owner: fmt.Sprintf("submitter%d", i)})
		var offers []records.Offer
		for j := range poolJobs / submitters {
			env := admittedJob(g.t, fmt.Sprintf("job-%d", j), by.ID(), by.Key, self.Key)
			if n := len(s.running); j < poolRuns/submitters {
				s.running[jobs.JobID(env.ID())] = n
			}
			offers = append(offers, records.Offer{Record: records.Record{Envelope: env}, Chains: [][][]byte{by.Chain, self.Chain}})
		}
		if _, refused, err := store.Add(g.ctx, offers, false); err != nil || len(refused) > 0 {
			g.t.Fatal(err, refused)
		}
	}
	if err := store.Close(); err != nil {
		g.t.Fatal(err)
	}
}

func admittedJob(t testing.TB, name string, by jobs.KeyID, keys ...ed25519.PrivateKey) record.Envelope {
	t.Helper()
	now := time.Now().Truncate(time.Second)
	m := &manifest.Manifest{
		Name: name, Submitter: by, Runtime: manifest.RuntimeWasm, Program: jobs.Blob{Digest: jobs.DigestOf([]byte("program")), Size: 7},
		Units: jobUnits, Bundle: 1, Quorum: 1, Memory: 64 << 20, Timeout: time.Minute, SuccessCodes: []uint32{0},
		Created: now, Expires: now.Add(manifest.MaxKeep), MinVersion: manifest.Version,
	}
	payload, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	env := record.Sign(record.TypeManifest, payload, keys[0])
	env.Countersign(keys[1])
	return env
}

// join adds a member to the pool until the test ends.
func (s *stewards) join(i int) {
	t := s.g.t
	t.Helper()
	id, known := s.g.enrolled(identity.Grant{Role: peer.Agent, Class: peer.AlwaysOn})
	network, self := s.wire.network(t, i), func() *identity.Identity { return id }
	log := slog.New(slog.DiscardHandler)
	dialer := rpc.NewDialer(rpc.DialOptions{Identity: self, Root: id.Root, Dial: network.Dial})
	listener := rpc.Listen(network.Listener, rpc.ListenOptions{Identity: self, Log: log})
	at, err := netip.ParseAddrPort(network.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	member, err := gossip.New(gossip.Options{
		Key: id.Key, Boot: 1, Advertise: at, Secrets: known.GossipKeys, Packets: network.Packets, Streams: listener.Gossip(), Dial: dialer.Stream,
		State: gossip.State{Reachable: true, Cores: 4, Voucher: gossip.Voucher{
			Role: peer.Agent, Class: peer.AlwaysOn, NotAfter: id.Caller().NotAfter.Truncate(time.Second), Signature: known.Voucher,
		}},
		// The coordinator looks at vouchers itself. That each of 500 members does is for 500 machines, too.
		VerifyVoucher: func(ed25519.PublicKey, peer.Role, peer.Class, time.Time, []byte) error { return nil },
		Log:           log,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := rpc.NewServer(log, rpc.Told{})
	gridv1.RegisterStewardServer(server, s)
	gridv1.RegisterRecordsServer(server, s)
	gridv1.RegisterMembersServer(server, s)
	ctx, cancel := context.WithCancel(s.g.ctx)
	var work sync.WaitGroup
	served := make(chan error, 1)
	work.Go(func() { served <- server.Serve(listener.GRPC()) })
	t.Cleanup(func() {
		cancel()
		server.Stop()
		dialer.Close()
		err := errors.Join(member.Close(), listener.Close())
		work.Wait()
		if err = errors.Join(err, <-served); err != nil {
			t.Error(err)
		}
	})
	if _, err := member.Join(ctx, known.Coordinators); err != nil {
		t.Fatal(err)
	}
	s.ids = append(s.ids, id.ID())
	work.Go(func() { s.compares(ctx, member, dialer) })
}

// compares asks the coordinator whether it has the records of all, as often as an agent's chance chooses it.
func (s *stewards) compares(ctx context.Context, member *gossip.Gossip, dialer *rpc.Dialer) {
	timer := time.NewTimer(rand.N(time.Minute))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		timer.Reset(54*time.Second + rand.N(12*time.Second))
		members, digest := member.Members(), s.digest.Load()
		m := members[rand.N(len(members))]
		if m.Role != peer.Coordinator || digest == nil {
			continue
		}
		conn, err := dialer.Conn(m.Address, m.ID)
		if err == nil {
			_, err = gridv1.NewRecordsClient(conn).Sync(ctx, &gridv1.SyncRequest{Scope: &gridv1.Scope{}, Digest: *digest})
		}
		if err != nil && ctx.Err() == nil {
			s.g.t.Logf("compare records with the coordinator: %v", err) // it may be off
		}
	}
}

// Summary says that all units of a job are done or, of one that runs, half, and the others lent to a few agents.
func (s *stewards) Summary(ctx context.Context, r *gridv1.SummaryRequest) (*gridv1.SummaryReply, error) {
	if _, err := rpc.Allow(ctx, gridv1.Steward_Summary_FullMethodName); err != nil {
		return nil, err
	}
	done := uint64(jobUnits)
	spent := ledger.HourSpend{Hour: uint32(s.began.Unix() / 3600)}
	reply := &gridv1.SummaryReply{Stewards: 3}
	if n, runs := s.running[jobs.JobID(r.GetShard().GetJob())]; runs {
		done /= 2
		for _, id := range s.ids[n*len(s.ids)/poolRuns : (n+1)*len(s.ids)/poolRuns] {
			reply.Lessees = append(reply.Lessees, id[:])
		}
		spent.CPU[ledger.LostCPU] = uint64(time.Since(s.began)/(10*time.Second)) * 10e6 // what it costs grows
	}
	spent.CPU[ledger.UsefulCPU], spent.Runs[ledger.UsefulCPU] = done*60e6, done
	reply.Open, reply.Lent, reply.Accepted = jobUnits-done, jobUnits-done, done
	reply.UsefulCpuUs, reply.CpuUs, reply.Account = done*60e6, spent.Total(), steward.AccountToProto([]ledger.HourSpend{spent})
	return reply, nil
}

// Sync says that everything is known here.
func (s *stewards) Sync(ctx context.Context, r *gridv1.SyncRequest) (*gridv1.SyncReply, error) {
	_, err := rpc.Allow(ctx, gridv1.Records_Sync_FullMethodName)
	if digest := r.GetDigest(); len(r.GetScope().GetJob()) == 0 {
		s.digest.Store(&digest)
	}
	return &gridv1.SyncReply{Equal: true, NowMs: time.Now().UnixMilli()}, err
}

// Push says that everything is kept.
func (s *stewards) Push(ctx context.Context, _ *gridv1.PushRequest) (*gridv1.PushReply, error) {
	_, err := rpc.Allow(ctx, gridv1.Records_Push_FullMethodName)
	return &gridv1.PushReply{}, err
}

// DialBack says that the caller can be reached.
func (s *stewards) DialBack(ctx context.Context, _ *gridv1.DialBackRequest) (*gridv1.DialBackReply, error) {
	_, err := rpc.Allow(ctx, gridv1.Members_DialBack_FullMethodName)
	return &gridv1.DialBackReply{}, err
}

// List says that the caller has reached a peer.
func (s *stewards) List(ctx context.Context, _ *gridv1.ListRequest) (*gridv1.ListReply, error) {
	_, err := rpc.Allow(ctx, gridv1.Members_List_FullMethodName)
	return &gridv1.ListReply{}, err
}
