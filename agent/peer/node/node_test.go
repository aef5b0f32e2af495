package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/gossip"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/simnet"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	testPort = 7745
	life     = 4 * time.Hour // of certificates here: gossip makes virtual weeks long
)

// pool is a network in memory and an authority, in a bubble.
type pool struct {
	t         *testing.T
	net       *simnet.Network
	authority *identitytest.Grid
	renewals  atomic.Int64
	quota     int64 // of nodes that are opened
}

// inPool runs f in a bubble.
func inPool(t *testing.T, f func(*pool)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// memberlist's own goroutines end some time after Close; virtual time stands still after the test.
		t.Cleanup(func() { time.Sleep(2 * time.Minute) })
		f(&pool{t: t, net: simnet.New(time.Millisecond, 1), authority: identitytest.NewGrid(t)})
	})
}

func (p *pool) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pool) voucher(id *identity.Identity) []byte {
	c := id.Caller()
	v, err := p.authority.Voucher(identity.Voucher{Key: c.Key, Role: c.Role, Class: c.Class, NotAfter: endOf(id)})
	p.must(err)
	return v
}

// folder makes the state folder of an agent that has joined.
func (p *pool) folder(peers ...string) string {
	p.t.Helper()
	state := p.t.TempDir()
	dir, err := os.OpenRoot(state)
	p.must(err)
	key, err := identity.NewKey()
	p.must(err)
	id := p.issue(key)
	p.must(errors.Join(
		SaveGrid(dir, Grid{GossipKeys: [][]byte{make([]byte, 32)}, Voucher: p.voucher(id)}), SavePeers(dir, peers), id.Save(dir), dir.Close(),
	))
	return state
}

// open opens a node on a folder, at the i-th address.
func (p *pool) open(i int, state string) (*Node, error) {
	host := p.net.Host(fmt.Sprintf("10.0.0.%d", i))
	l, err := host.Listen(testPort)
	p.must(err)
	packets, err := host.ListenPacket(testPort)
	p.must(err)
	dial := func(ctx context.Context, address string) (net.Conn, error) { return host.Dial(ctx, address) }
	return New(Options{
		State: state, Network: Network{Listener: l, Packets: packets, Dial: dial}, Log: slog.New(slog.DiscardHandler),
		Renew: p.renew, Quota: p.quota,
	}, Hooks{})
}

func (p *pool) renew(_ context.Context, old *identity.Identity) (*identity.Identity, []byte, error) {
	p.renewals.Add(1)
	id := p.issue(old.Key)
	return id, p.voucher(id), nil
}

func (p *pool) issue(key ed25519.PrivateKey) *identity.Identity {
	request, err := identity.Request(key)
	p.must(err)
	chain, err := p.authority.Issue(request, identity.Grant{Role: peer.Agent, Class: peer.AlwaysOn}, life)
	p.must(err)
	id, err := identity.New(key, chain, p.authority.Root())
	p.must(err)
	return id
}

// serve runs a node until the function that it returns is called.
func (p *pool) serve(i int, state string) (*Node, func()) {
	p.t.Helper()
	n, err := p.open(i, state)
	p.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Serve(ctx) }()
	return n, func() {
		cancel()
		begun := time.Now()
		p.must(errors.Join(<-ended, n.Close()))
		if took := time.Since(begun); took > 3*time.Second {
			p.t.Errorf("stopping took %s", took)
		}
		p.net.Stop(fmt.Sprintf("10.0.0.%d", i))
	}
}

const firstAddress = "10.0.0.1:7745"

func reachable(nodes ...*Node) bool {
	for _, n := range nodes {
		if len(peer.Rank(nil, n.Members(), 100)) != len(nodes) {
			return false
		}
	}
	return true
}

func (p *pool) within(d time.Duration, what string, ok func() bool) {
	p.t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > d {
			p.t.Fatalf("not within %s: %s", d, what)
		}
	}
}

func TestPeersFindEachOtherQuickly(t *testing.T) {
	inPool(t, func(p *pool) {
		a, stopA := p.serve(1, p.folder())
		defer stopA()
		time.Sleep(10 * time.Minute) // alone all the while
		b, stopB := p.serve(2, p.folder(firstAddress))
		defer stopB()
		p.within(5*time.Second, "both are reachable", func() bool { return reachable(a, b) })
	})
}

// TestAlone: a pool of one, whose coordinator is gone, still has somebody to keep ledgers.
func TestAlone(t *testing.T) {
	inPool(t, func(p *pool) {
		a, stopA := p.serve(1, p.folder("10.0.0.99:1"))
		defer stopA()
		time.Sleep(settleTime - time.Second)
		if reachable(a) {
			t.Error("called itself reachable before it had looked for others")
		}
		p.within(5*time.Second, "it is reachable", func() bool { return reachable(a) })
	})
}

// TestOrphansGo: the blobs of a job that ended while the peer was off do not stay for ever.
func TestOrphansGo(t *testing.T) {
	inPool(t, func(p *pool) {
		state := p.folder()
		n, err := p.open(1, state)
		p.must(err)
		known := p.jobWithPack(n)
		data := []byte("of a job that nobody knows")
		blob := jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
		p.must(n.Blobs.Put(blobs.For(jobs.JobID{1}), blob, bytes.NewReader(data)))
		p.must(n.Close())
		p.net.Stop("10.0.0.1")
		again, err := p.open(1, state)
		p.must(err)
		defer again.Close()
		if list := again.Blobs.List(); len(list) != 1 || list[0].Jobs()[0] != known {
			t.Errorf("kept %v", list)
		}
	})
}

// TestP6LostRecords: who moves damaged records away, as the error says, keeps the blobs, whose other copies may be
// gone: the records come back from others.
func TestP6LostRecords(t *testing.T) {
	inPool(t, func(p *pool) {
		state := p.folder()
		n, err := p.open(1, state)
		p.must(err)
		job := p.jobWithPack(n)
		p.must(n.Close())
		p.net.Stop("10.0.0.1")
		p.must(os.Remove(filepath.Join(state, recordsFile)))
		again, err := p.open(1, state)
		p.must(err)
		defer again.Close()
		if again.Store.Keeps(job) {
			t.Fatal("the records are not lost")
		}
		if list := again.Blobs.List(); len(list) != 1 {
			t.Errorf("kept %v", list)
		}
	})
}

// jobWithPack gives a peer a job and a blob of it.
func (p *pool) jobWithPack(n *Node) jobs.JobID {
	p.t.Helper()
	job, offer := p.job()
	_, refused, err := n.Store.Add(p.t.Context(), []records.Offer{offer}, false)
	if err != nil || len(refused) > 0 {
		p.t.Fatal(refused, err)
	}
	data := []byte("a pack")
	p.must(n.Blobs.Put(blobs.For(job), jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}, bytes.NewReader(data)))
	return job
}

// job makes a job that expires in two hours, as the coordinator hands it over.
func (p *pool) job(change ...func(*manifest.Manifest)) (jobs.JobID, records.Offer) {
	p.t.Helper()
	submitter, coordinator := p.authority.Role(peer.Submitter, "alice"), p.authority.Role(peer.Coordinator, "")
	now := time.Now().Truncate(time.Second)
	m := &manifest.Manifest{
		Name: "job", Submitter: submitter.ID(), Runtime: manifest.RuntimeWasm, Program: jobs.Blob{Digest: jobs.DigestOf(nil)},
		Units: 1, Bundle: 1, Quorum: 1, Memory: 64 << 20, Timeout: time.Minute, SuccessCodes: []uint32{0},
		Created: now, Expires: now.Add(2 * time.Hour), MinVersion: 1,
	}
	for _, c := range change {
		c(m)
	}
	payload, err := m.Encode()
	p.must(err)
	o := records.Offer{Chains: [][][]byte{submitter.Chain, coordinator.Chain}}
	o.Envelope = record.Sign(record.TypeManifest, payload, submitter.Key)
	o.Envelope.Countersign(coordinator.Key)
	return jobs.JobID(o.Envelope.ID()), o
}

// TestBlobsStayWithRecords: a start with a clock that is ahead removes nothing; blobs go when the records do.
func TestBlobsStayWithRecords(t *testing.T) {
	inPool(t, func(p *pool) {
		state := p.folder()
		n, err := p.open(1, state)
		p.must(err)
		job := p.jobWithPack(n)
		p.must(n.Close())
		p.net.Stop("10.0.0.1")
		time.Sleep(5 * 24 * time.Hour)
		n, stop := p.serve(1, state)
		defer stop()
		time.Sleep(30 * time.Minute)
		if !n.Store.Keeps(job) || len(n.Blobs.List()) != 1 {
			t.Error("a job that this process has just found ended is deleted")
		}
		time.Sleep(time.Hour)
		if n.Store.Keeps(job) || len(n.Blobs.List()) != 0 {
			t.Error("a job that ended days ago is not deleted")
		}
	})
}

// TestP5EndedBlobsGo: of a job that was cancelled no blob is taken, and those that are here go an hour later.
func TestP5EndedBlobsGo(t *testing.T) {
	inPool(t, func(p *pool) {
		n, stop := p.serve(1, p.folder())
		defer stop()
		job, offer := p.job()
		data := []byte("a pack")
		blob := jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
		policy := PeerPolicy{Store: n.Store}
		agent, operator := p.authority.Agent().Caller(), p.authority.Role(peer.Operator, "it")
		add := func(o records.Offer) {
			t.Helper()
			if _, refused, err := n.Store.Add(p.t.Context(), []records.Offer{o}, false); err != nil || len(refused) > 0 {
				t.Fatal(refused, err)
			}
		}
		add(offer)
		p.must(policy.MayWrite(agent, blobs.For(job), blob))
		p.must(n.Blobs.Put(blobs.For(job), blob, bytes.NewReader(data)))
		c := record.Cancel{Job: job}
		add(records.Offer{
			Record: records.Record{Envelope: record.Sign(record.TypeCancel, c.Encode(), operator.Key)}, Chains: [][][]byte{operator.Chain},
		})
		if err := policy.MayWrite(agent, blobs.For(job), blob); jobs.KindOf(err) != jobs.Expired {
			t.Errorf("a blob is taken: %v", err)
		}
		p.must(policy.MayRead(agent, job))
		time.Sleep(55 * time.Minute)
		if len(n.Blobs.List()) != 1 {
			t.Error("the blob went before the hour was over")
		}
		time.Sleep(20 * time.Minute)
		if len(n.Blobs.List()) != 0 || !n.Store.Keeps(job) {
			t.Errorf("%d blobs are left, the records are: %v", len(n.Blobs.List()), n.Store.Keeps(job))
		}
	})
}

// TestRefusedForNowIsOfferedAgain: an author that is no steward offers again what a steward may take later.
func TestRefusedForNowIsOfferedAgain(t *testing.T) {
	inPool(t, func(p *pool) {
		a, stopA := p.serve(1, p.folder())
		defer stopA()
		b, stopB := p.serve(2, p.folder(firstAddress))
		defer stopB()
		a.update(func(s *gossip.State) { s.Draining = true }) // so that it stewards nothing
		p.within(time.Minute, "b is the steward", func() bool { return len(peer.Rank(nil, a.Members(), 9)) == 1 })
		time.Sleep(2 * settleTime)
		job, offer := p.job()
		pack := jobs.Blob{Digest: jobs.DigestOf([]byte("pack")), Size: 4}
		report := record.Report{
			Job: job, Author: a.ID(), Counter: 1, Runtime: "r 1", Platform: "linux/amd64", Pack: pack,
			Bundles: []record.BundleReport{{Units: []record.UnitReport{{Outcome: jobs.DigestOf(nil)}}}},
		}
		bare := records.Offer{Chains: [][][]byte{a.Identity().Chain}}
		bare.Envelope = record.Sign(record.TypeReport, report.Encode(), a.Identity().Key)
		add := func(n *Node, offers ...records.Offer) {
			t.Helper()
			if _, refused, err := n.Store.Add(p.t.Context(), offers, false); err != nil || len(refused) > 0 {
				t.Fatal(refused, err)
			}
		}
		add(a, offer, bare) // its own report needs no receipts, b wants one
		add(b, offer)
		shard := jobs.ShardID{Job: job}
		s := newSpreader(a)
		offers := func() bool {
			s.visit(p.t.Context(), s.errands(false))
			s.work.Wait()
			return s.given[shard][b.ID()]
		}
		if offers() {
			t.Error("after a refusal for now it counts as given")
		}
		p.must(a.Blobs.Put(blobs.For(job), pack, bytes.NewReader([]byte("pack"))))
		if !offers() || len(b.Store.IDs(records.Scope{Shard: shard, Reports: true})) != 1 || !b.Blobs.Holds(job, pack.Digest) {
			t.Error("a report whose pack is here was not mended")
		}
		if kept, err := a.Store.Get(bare.Envelope.ID()); err != nil || len(kept.Receipts) != 1 {
			t.Errorf("its new receipt is not kept: %v, %v", kept.Receipts, err)
		}
	})
}

// TestHungPeers: those that do not answer hold up neither a round of spreading nor the jobs that others know.
func TestHungPeers(t *testing.T) {
	inPool(t, func(p *pool) {
		a, stopA := p.serve(1, p.folder())
		defer stopA()
		b, stopB := p.serve(2, p.folder(firstAddress))
		defer stopB()
		c, stopC := p.serve(3, p.folder(firstAddress))
		defer stopC()
		p.within(time.Minute, "all are reachable", func() bool { return reachable(a, b, c) })
		job, offer := p.job()
		if _, _, err := b.Store.Add(p.t.Context(), []records.Offer{offer}, false); err != nil {
			t.Fatal(err)
		}
		hung, _ := a.Member(c.ID())
		p.net.Stop("10.0.0.3")
		for i := range 2 * maxLearning {
			a.woken(gossip.Wake{From: hung.ID, Job: jobs.JobID{9, byte(i / maxLearning)}})
		}
		a.woken(gossip.Wake{From: b.ID(), Job: job})
		p.within(time.Second, "the job that b knows is here", func() bool { return a.Store.Keeps(job) })
		s, all := newSpreader(a), errand{dir: records.Both}
		busy := func(id jobs.AgentID) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.busy[id]
		}
		other, _ := a.Member(b.ID())
		s.visit(p.t.Context(), map[peer.Member][]errand{hung: {all}, other: {all}})
		p.within(time.Second, "the visit to b is over", func() bool { return !busy(b.ID()) })
		if !busy(hung.ID) {
			t.Error("c answers: this tests nothing")
		}
		s.visit(p.t.Context(), map[peer.Member][]errand{hung: {all}, other: {all}})
		p.within(time.Second, "the second visit to b is over", func() bool { return !busy(b.ID()) })
		s.work.Wait()
	})
}

// TestKeptAddresses holds that a peer that starts alone still knows those who were off when it ran last.
func TestKeptAddresses(t *testing.T) {
	inPool(t, func(p *pool) {
		stateA, stateB := p.folder(), p.folder(firstAddress, "10.0.0.77:1")
		a, stopA := p.serve(1, stateA)
		b, stopB := p.serve(2, stateB)
		p.within(time.Minute, "both are reachable", func() bool { return reachable(a, b) })
		time.Sleep(2 * time.Minute)
		stopB()
		time.Sleep(2 * time.Minute)
		stopA()
		// The other way round: b is there first, a comes back and knows it.
		a, stopA = p.serve(1, stateA)
		defer stopA()
		b, stopB = p.serve(2, stateB)
		defer stopB()
		p.within(time.Minute, "both are reachable again", func() bool { return reachable(a, b) })
		kept, err := LoadPeers(b.dir)
		p.must(err)
		if !slices.Contains(kept, firstAddress) || !slices.Contains(kept, "10.0.0.77:1") {
			t.Errorf("kept %v", kept)
		}
	})
}

func TestServeAndClose(t *testing.T) {
	t.Run("Close without Serve, twice", func(t *testing.T) {
		inPool(t, func(p *pool) {
			n, err := p.open(1, p.folder())
			p.must(err)
			p.must(errors.Join(n.Close(), n.Close()))
			p.must(n.Serve(p.t.Context())) // does nothing
		})
	})
	t.Run("Close ends Serve", func(t *testing.T) {
		inPool(t, func(p *pool) {
			n, err := p.open(1, p.folder())
			p.must(err)
			ended := make(chan error, 1)
			go func() { ended <- n.Serve(context.Background()) }()
			time.Sleep(time.Minute)
			p.must(errors.Join(n.Close(), <-ended))
		})
	})
	t.Run("addresses.json cannot be written", func(t *testing.T) {
		inPool(t, func(p *pool) {
			state := p.folder()
			p.must(os.MkdirAll(filepath.Join(state, addressesFile, "in the way"), 0o700))
			n, err := p.open(1, state)
			p.must(err)
			if err := n.Serve(p.t.Context()); err == nil {
				t.Error("Serve ended without an error")
			}
			p.must(n.Close())
		})
	})
	t.Run("addresses.json is there while it runs", func(t *testing.T) {
		inPool(t, func(p *pool) {
			n, stop := p.serve(1, p.folder())
			dir, err := os.OpenRoot(n.o.State)
			p.must(err)
			defer dir.Close()
			time.Sleep(time.Second)
			a, err := LoadAddresses(dir)
			if err != nil || a.Grid != firstAddress || a.ID != n.ID() || a.PID != os.Getpid() {
				t.Errorf("addresses %+v, %v", a, err)
			}
			stop()
			if _, err := LoadAddresses(dir); jobs.KindOf(err) != jobs.Unavailable {
				t.Errorf("after the end: %v", err)
			}
		})
	})
	t.Run("no grid was joined", func(t *testing.T) {
		inPool(t, func(p *pool) {
			if _, err := p.open(1, t.TempDir()); jobs.KindOf(err) != jobs.NotFound || jobs.HintOf(err) == "" {
				t.Errorf("got %v", err)
			}
		})
	})
}

func TestRenewal(t *testing.T) {
	t.Run("at half life, and gossip shows it", func(t *testing.T) {
		inPool(t, func(p *pool) {
			a, stopA := p.serve(1, p.folder())
			defer stopA()
			b, stopB := p.serve(2, p.folder(firstAddress))
			defer stopB()
			time.Sleep(life/2 - time.Minute)
			if n := p.renewals.Load(); n != 0 {
				t.Errorf("%d renewals within the first half", n)
			}
			time.Sleep(life/2 + time.Hour) // what both said at first is worth nothing any more
			if !reachable(a, b) {
				t.Errorf("members %v and %v", a.Members(), b.Members())
			}
			if n := p.renewals.Load(); n != 4 {
				t.Errorf("%d renewals, expected 2 of each peer", n)
			}
		})
	})
	t.Run("a peer that was off for weeks renews before it starts", func(t *testing.T) {
		inPool(t, func(p *pool) {
			state := p.folder()
			time.Sleep(30 * 24 * time.Hour)
			_, stop := p.serve(1, state)
			stop()
			if n := p.renewals.Load(); n != 1 {
				t.Errorf("%d renewals", n)
			}
		})
	})
	t.Run("a crash between the voucher and the certificate", func(t *testing.T) {
		inPool(t, func(p *pool) {
			state := p.folder()
			time.Sleep(life / 4)
			dir, err := os.OpenRoot(state)
			p.must(err)
			old, err := identity.Load(dir)
			p.must(err)
			id, voucher, err := p.renew(p.t.Context(), old)
			p.must(err)
			g, err := LoadGrid(dir)
			p.must(err)
			g.Voucher, g.VoucherEnds = voucher, endOf(id)
			p.must(errors.Join(SaveGrid(dir, g), dir.Close()))
			_, stop := p.serve(1, state)
			stop()
		})
	})
}

func TestDialBackIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMembers(nil)
		done, err := m.enterDialBack(jobs.KeyID{1})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(dialBackTimeout)
		if _, err := m.enterDialBack(jobs.KeyID{1}); jobs.KindOf(err) != jobs.Exhausted {
			t.Errorf("a second one while the first is under way: %v", err)
		}
		for i := range maxDialBacks - 1 {
			if _, err := m.enterDialBack(jobs.KeyID{2, byte(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := m.enterDialBack(jobs.KeyID{3}); jobs.KindOf(err) != jobs.Exhausted {
			t.Errorf("more than %d at once: %v", maxDialBacks, err)
		}
		done()
		if _, err := m.enterDialBack(jobs.KeyID{1}); jobs.KindOf(err) != jobs.Exhausted {
			t.Errorf("a second one within a second: %v", err)
		}
		time.Sleep(dialBackEvery)
		if _, err := m.enterDialBack(jobs.KeyID{3}); err != nil {
			t.Errorf("another caller, when there is room: %v", err)
		}
		if _, known := m.dialed[jobs.KeyID{1}]; known || len(m.dialed) != maxDialBacks {
			t.Errorf("%d callers are remembered", len(m.dialed))
		}
	})
}

func TestSameMachine(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"10.0.0.1", "10.0.0.1", true},
		{"10.0.0.1", "::ffff:10.0.0.1", true},
		{"10.0.0.1", "10.0.0.2", false},
		{"10.0.0.1", "fd00::1", false},
		{"fe80::1%eth0", "fe80::1", true},
		{"127.0.0.2", "127.0.0.1", true},
		{"::1", "::ffff:127.0.0.1", true},
		{"127.0.0.1", "10.0.0.1", false},
	} {
		if got := sameMachine(netip.MustParseAddr(c.a), netip.MustParseAddr(c.b)); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
	}
}

// TestDialBack: the address must be the caller's own, and what a peer cannot say leaves things as they are.
func TestDialBack(t *testing.T) {
	inPool(t, func(p *pool) {
		a, stopA := p.serve(1, p.folder())
		defer stopA()
		b, stopB := p.serve(2, p.folder(firstAddress))
		defer stopB()
		p.within(time.Minute, "both are reachable", func() bool { return reachable(a, b) })
		first, _ := b.Member(a.ID())
		conn, err := b.Dialer.Conn(first.Address, first.ID)
		p.must(err)
		for address, want := range map[string]jobs.ErrorKind{
			"10.0.0.3:7745": jobs.Denied, firstAddress: jobs.Denied, "10.0.0.2:1": jobs.NotFound, "b:1": jobs.Invalid,
		} {
			time.Sleep(dialBackEvery)
			_, err := gridv1.NewMembersClient(conn).DialBack(p.t.Context(), &gridv1.DialBackRequest{Address: address})
			if jobs.KindOf(err) != want || want == jobs.Denied && jobs.HintOf(err) == "" {
				t.Errorf("%s: %v", address, err)
			}
		}
		time.Sleep(dialBackEvery)
		ask := func(others ...peer.Member) [2]bool {
			yes, known := b.reachable(p.t.Context(), others)
			return [2]bool{yes, known}
		}
		gone := peer.Member{ID: jobs.AgentID{9}, Address: "10.0.0.9:1"}
		if got := ask(first); got != [2]bool{true, true} {
			t.Errorf("dialled back, but reachable, known = %v", got)
		}
		if got := ask(first); got != [2]bool{} {
			t.Errorf("the peer is busy, but reachable, known = %v", got)
		}
		if got := ask(gone); got != [2]bool{} {
			t.Errorf("the peer is gone, but reachable, known = %v", got)
		}
		time.Sleep(dialBackEvery)
		if got := ask(gone, first); got != [2]bool{true, true} {
			t.Errorf("one of two is there, but reachable, known = %v", got)
		}
	})
}

func TestSmallFiles(t *testing.T) {
	dir := identitytest.Folder(t)
	if err := SaveGrid(dir, Grid{Voucher: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	info, err := dir.Stat(gridFile)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %s: it holds secrets", gridFile, info.Mode())
	}
	if peers, err := LoadPeers(dir); err != nil || len(peers) != 0 {
		t.Errorf("without a file: %v, %v", peers, err)
	}
	var many []string
	for i := range 2 * maxPeers {
		many = append(many, fmt.Sprint("10.0.0.1:", i+1))
	}
	if err := SavePeers(dir, many); err != nil {
		t.Fatal(err)
	}
	if peers, err := LoadPeers(dir); err != nil || !slices.Equal(peers, many[:maxPeers]) {
		t.Errorf("kept %d addresses, %v", len(peers), err)
	}
	for name, text := range map[string]string{"broken": "[", "too large": "[" + string(make([]byte, maxFile)) + "]"} {
		if err := dir.WriteFile(peersFile, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadPeers(dir); jobs.KindOf(err) != jobs.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}
