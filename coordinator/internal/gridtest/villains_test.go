package gridtest_test

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"idlegrid/agent/peer/identity"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// badBlobs gives receipts for what it does not keep, says that it has everything, and gives what a test says.
type badBlobs struct {
	gridv1.UnimplementedBlobsServer
	id   *identity.Identity
	give func(gridv1.Blobs_GetServer) error

	received, given atomic.Int64
}

func (b *badBlobs) Put(stream gridv1.Blobs_PutServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	job, err := jobs.JobIDFromBytes(first.GetHeader().GetJob())
	if err != nil {
		return err
	}
	blob, err := record.BlobFromProto(first.GetHeader().GetBlob())
	if err != nil {
		return err
	}
	for err == nil {
		_, err = stream.Recv()
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	b.received.Add(1)
	r := record.Receipt{Holder: b.id.ID(), Blob: blob, Job: job}
	env := record.Sign(record.TypeReceipt, r.Encode(), b.id.Key)
	return stream.SendAndClose(&gridv1.PutReply{Receipt: env.ToProto()})
}

func (b *badBlobs) Have(_ context.Context, req *gridv1.HaveRequest) (*gridv1.HaveReply, error) {
	reply := &gridv1.HaveReply{Have: make([]bool, len(req.GetDigests()))}
	for i := range reply.Have {
		reply.Have[i] = true
	}
	return reply, nil
}

func (b *badBlobs) Get(_ *gridv1.GetRequest, stream gridv1.Blobs_GetServer) error {
	b.given.Add(1)
	if b.give == nil {
		return jobs.Errorf(jobs.NotFound, "no such blob")
	}
	return b.give(stream)
}

// TestP6WrongBlobs: a holder gives other bytes than those that it took: the program comes from another holder, and
// packs do, too.
func TestP6WrongBlobs(t *testing.T) {
	const longest = 64 << 20 // that an endless answer may get, of all agents together
	var sent atomic.Int64
	send := func(stream gridv1.Blobs_GetServer, data []byte) error {
		sent.Add(int64(len(data)))
		return stream.Send(&gridv1.GetReply{Data: data})
	}
	gives := map[string]func(gridv1.Blobs_GetServer) error{
		"nothing kept": nil,
		"other bytes":  func(s gridv1.Blobs_GetServer) error { return send(s, []byte("the villain's program !")) },
		"longer":       func(s gridv1.Blobs_GetServer) error { return send(s, make([]byte, 1<<20)) },
		"endless": func(s gridv1.Blobs_GetServer) error {
			for {
				if err := send(s, make([]byte, 256<<10)); err != nil {
					return err
				}
			}
		},
		"silence": func(s gridv1.Blobs_GetServer) error {
			<-s.Context().Done()
			return s.Context().Err()
		},
	}
	for name, give := range gives {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 6, func(g *gridtest.Grid) {
				var bad *badBlobs
				v := g.AddVillain(func(v *gridtest.Villain) gridtest.Services {
					bad = &badBlobs{id: v.Identity, give: give}
					return gridtest.Services{Blobs: bad}
				})
				g.Work(gridtest.Takes(time.Second))
				j := g.User.SubmitProgram(v.FirstHolder(), 200)
				j.Await(3 * time.Minute)
				j.Each(1, 2)
				j.Complete()
				if bad.received.Load() == 0 || bad.given.Load() == 0 {
					t.Errorf("the villain took %d blobs and was asked for %d", bad.received.Load(), bad.given.Load())
				}
				wellAndWhole(g)
				if n := sent.Load(); n > longest {
					t.Errorf("%d bytes were taken from the villain", n)
				}
			})
		})
	}
}

// wellAndWhole fails the test unless every agent is a member in everyone's eyes and answers.
func wellAndWhole(g *gridtest.Grid) {
	g.T.Helper()
	for _, m := range g.Agents {
		if !m.On() {
			g.T.Fatalf("%s is off", m.IP)
		}
		for _, o := range append(g.On(), g.Coordinator) {
			if seen, ok := o.Node().Member(m.Node().ID()); !ok || !seen.Eligible() {
				g.T.Errorf("%s does not see %s as eligible: %+v", o.IP, m.IP, seen)
			}
		}
		conn, err := g.User.Conn(m)
		if err == nil {
			_, err = gridv1.NewMembersClient(conn).List(context.Background(), &gridv1.ListRequest{})
		}
		if err != nil {
			g.T.Errorf("%s does not answer: %v", m.IP, err)
		}
		if n := m.Logged("handler panicked"); n > 0 {
			g.T.Errorf("%s: %d handlers panicked", m.IP, n)
		}
	}
}

// badSteward answers exchanges as a test says, and says that it keeps what it is given.
type badSteward struct {
	gridv1.UnimplementedStewardServer
	gridv1.UnimplementedRecordsServer
	answer func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error)
	asked  atomic.Int64
}

func (b *badSteward) Exchange(ctx context.Context, req *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
	b.asked.Add(1)
	return b.answer(ctx, req)
}

func (b *badSteward) Push(ctx context.Context, req *gridv1.PushRequest) (*gridv1.PushReply, error) {
	return &gridv1.PushReply{}, nil
}

func (b *badSteward) Sync(context.Context, *gridv1.SyncRequest) (*gridv1.SyncReply, error) {
	return &gridv1.SyncReply{Equal: true}, nil
}

// TestBadStewards: the first steward of a job lies. The others keep what is reported, and the job is done.
func TestBadStewards(t *testing.T) {
	hang := func(ctx context.Context, _ *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	answers := map[string]func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error){
		"hangs": hang,
		"says that nothing is open": func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			return &gridv1.ExchangeReply{AgainMs: 15000}, nil
		},
		"lends nothing": func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			return &gridv1.ExchangeReply{AgainMs: 4_000_000_000, Open: 100}, nil
		},
		"drops everything": func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			time.Sleep(5 * time.Second) // else the agents would ask again at once, all the time
			return &gridv1.ExchangeReply{
				AgainMs: 1000, Open: 100, Lend: []*gridv1.Run{{Count: 100}}, Drop: []*gridv1.Run{{Count: 100}},
			}, nil
		},
		"lends what is not there": func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			return &gridv1.ExchangeReply{AgainMs: 15000, Open: 100, Lend: []*gridv1.Run{
				{First: 1 << 40, Count: 1},
				{First: 99, Count: 2},
				{Count: 1<<32 - 1},
				{First: 1<<64 - 1, Count: 2},
				{First: 5, Count: 1, Units: []uint64{4, 6, 1 << 63}},
				{First: 7, Count: 1, Attempt: 1<<32 - 1},
			}}, nil
		},
		"lends all to all": func(context.Context, *gridv1.ExchangeRequest) (*gridv1.ExchangeReply, error) {
			return &gridv1.ExchangeReply{AgainMs: 1, Open: 100, Lend: []*gridv1.Run{{Count: 100}}}, nil
		},
	}
	for name, answer := range answers {
		t.Run(name, func(t *testing.T) {
			gridtest.Run(t, 3, func(g *gridtest.Grid) {
				bad := &badSteward{answer: answer}
				v := g.AddVillain(func(*gridtest.Villain) gridtest.Services {
					return gridtest.Services{Steward: bad, Records: bad}
				})
				g.Work(gridtest.Takes(time.Second))
				j := g.Submit(100, func(m *manifest.Manifest) {
					m.Timeout = time.Minute
					v.FirstSteward(m)
				})
				took := j.Await(time.Hour)
				t.Logf("took %s, %d runs", took, g.Started())
				if bad.asked.Load() == 0 {
					t.Error("nobody asked the villain")
				}
				j.Complete()
				wellAndWhole(g)
			})
		})
	}
}
