package gridtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"idlegrid/agent"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/agent/peer/rpc"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// office runs f in a bubble with two servers, and a PC whose owner the test plays.
func office(t *testing.T, f func(*gridtest.Grid, *gridtest.Machine)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g := gridtest.New(t)
		for range 2 {
			g.Add(peer.AlwaysOn).Start()
		}
		pc := g.Add(peer.Office)
		pc.Owner = &gridtest.Owner{}
		pc.Start()
		g.AwaitPool(3)
		f(g, pc)
	})
}

// coresOf returns how many cores a machine offers in the eyes of another.
func coresOf(t *testing.T, pc, eyes *gridtest.Machine) int {
	t.Helper()
	m, ok := eyes.Node().Member(pc.Node().ID())
	if !ok {
		t.Fatalf("%s does not see %s", eyes.IP, pc.IP)
	}
	return m.Cores
}

// outsiders are those who can ask something over the network.
func outsiders(g *gridtest.Grid) map[string]*rpc.Dialer {
	return map[string]*rpc.Dialer{
		"operator": g.NewUser(peer.Operator, "ops").Dialer, "the job's submitter": g.User.Dialer,
		"another submitter": g.NewUser(peer.Submitter, "bob").Dialer,
		"an agent":          g.Agents[0].Node().Dialer, "another agent": g.Agents[1].Node().Dialer,
		"coordinator": g.Coordinator.Node().Dialer,
	}
}

// requests are questions about a job, by method. What is not here is asked with an empty message.
func requests(j *gridtest.Job) map[string]proto.Message {
	shard := records.ShardToProto(jobs.ShardID{Job: j.ID})
	program := j.Manifest.Program
	return map[string]proto.Message{
		gridv1.Records_Sync_FullMethodName:     &gridv1.SyncRequest{Scope: shard},
		gridv1.Records_Pull_FullMethodName:     &gridv1.PullRequest{Scope: shard},
		gridv1.Steward_Exchange_FullMethodName: &gridv1.ExchangeRequest{Shard: shard},
		gridv1.Steward_Summary_FullMethodName:  &gridv1.SummaryRequest{Shard: shard},
		gridv1.Steward_Failures_FullMethodName: &gridv1.FailuresRequest{Shard: shard, Most: 10},
		gridv1.Machine_Inspect_FullMethodName:  &gridv1.InspectRequest{Viewer: "operator olga"},
		gridv1.Steward_Notes_FullMethodName:    &gridv1.NotesRequest{Shard: shard},
		gridv1.Blobs_Get_FullMethodName:        &gridv1.GetRequest{Job: j.ID[:], Digest: program.Digest[:]},
		gridv1.Blobs_Have_FullMethodName:       &gridv1.HaveRequest{Job: j.ID[:], Digests: [][]byte{program.Digest[:]}},
		gridv1.Blobs_Release_FullMethodName:    &gridv1.ReleaseRequest{Job: j.ID[:]},
		gridv1.Blobs_Put_FullMethodName: &gridv1.PutRequest{Header: &gridv1.PutHeader{
			Job: j.ID[:], Blob: record.BlobToProto(program),
		}},
	}
}

// answers asks a machine everything that there is to ask, as everybody who can, and returns what each was told.
func answers(t *testing.T, of *gridtest.Machine, who map[string]*rpc.Dialer, with map[string]proto.Message) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, dialer := range who {
		if dialer == of.Node().Dialer {
			continue // what a machine tells itself stays there
		}
		conn, err := dialer.Conn(of.Node().Address(), of.Node().ID())
		if err != nil {
			t.Fatal(err)
		}
		for method := range rpc.Access() {
			all[name+" calls "+method] = answer(t, conn, method, with[method])
		}
	}
	return all
}

// answer makes a call of any method, and returns all that came back but the time.
func answer(t *testing.T, conn grpc.ClientConnInterface, method string, req proto.Message) string {
	t.Helper()
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(strings.ReplaceAll(method[1:], "/", ".")))
	if err != nil {
		t.Fatal(err)
	}
	desc := d.(protoreflect.MethodDescriptor)
	if req == nil {
		req = messageOf(t, desc.Input()).Interface()
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: desc.IsStreamingClient(), ServerStreams: true}, method)
	if err == nil {
		err = stream.SendMsg(req)
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = stream.CloseSend()
	}
	var told bytes.Buffer
	for err == nil {
		reply := messageOf(t, desc.Output())
		if err = stream.RecvMsg(reply.Interface()); err == nil {
			text, merr := proto.MarshalOptions{Deterministic: true}.Marshal(settled(reply.Interface()))
			if merr != nil {
				t.Fatal(merr)
			}
			fmt.Fprintf(&told, "%x\n", text)
		}
	}
	if !errors.Is(err, io.EOF) {
		fmt.Fprintln(&told, jobs.KindOf(err), err, jobs.HintOf(err))
	}
	return told.String()
}

func messageOf(t *testing.T, d protoreflect.MessageDescriptor) protoreflect.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		t.Fatal(err)
	}
	return kind.New()
}

// settled returns an answer without what differs each time: the clock, when to speak again, and the order of the pool.
func settled(m proto.Message) proto.Message {
	switch m := m.(type) {
	case *gridv1.SyncReply:
		m.NowMs = 0
	case *gridv1.ExchangeReply:
		m.AgainMs = 0
	case *gridv1.InspectReply:
		m.ClockAheadMs = 0
	case *gridv1.ListReply:
		slices.SortFunc(m.Members, func(a, b *gridv1.Member) int { return bytes.Compare(a.GetId(), b.GetId()) })
	}
	return m
}

// expectSame fails the test for each answer that is another one than before.
func expectSame(t *testing.T, what string, before, now map[string]string) {
	t.Helper()
	for question, told := range before {
		if now[question] != told {
			t.Errorf("%s: %s is told\n%s\nbefore it was\n%s", what, question, now[question], told)
		}
	}
}

// TestOutsideOnlyCores: nobody on the network can tell why a PC offers no cores. In use, paused, on battery and so on
// have the same answers, byte for byte, to whoever asks whatever; and that it offers some changes no answer but the
// number of cores.
func TestOutsideOnlyCores(t *testing.T) {
	office(t, func(g *gridtest.Grid, pc *gridtest.Machine) {
		j := g.Submit(20)
		j.Await(time.Minute)
		who, with := outsiders(g), requests(j)
		sees := func(change func(*agent.Observation)) func() error {
			return func() error {
				pc.Owner.Sees(change)
				return nil
			}
		}
		harvest := pc.Agent().Harvest()
		situations := map[string]func() error{
			"in use":  func() error { pc.Owner.Types(true); return nil },
			"paused":  func() error { return harvest.Pause(time.Time{}) },
			"stopped": func() error { return harvest.StopJobs(time.Now().Add(24 * time.Hour)) },
			"unseen":  sees(func(o *agent.Observation) { *o = agent.Observation{} }),
			"on battery": sees(func(o *agent.Observation) {
				o.Power.None, o.Power.Value.Battery, o.Power.Value.Charge = false, true, 0.9
			}),
			"a film":    sees(func(o *agent.Observation) { o.Presenting.Value = true }),
			"metered":   sees(func(o *agent.Observation) { o.Metered.Value = true }),
			"no memory": sees(func(o *agent.Observation) { o.Memory.Value.Available = 1 << 20 }),
			"hot":       sees(func(o *agent.Observation) { o.Temperature.None, o.Temperature.Value = false, 99 }),
			"busy":      sees(func(o *agent.Observation) { o.Others.Value = 1000 }),
		}
		var first map[string]string
		whys := map[string]string{}
		for _, name := range slices.Sorted(maps.Keys(situations)) {
			pc.Owner.Types(false)
			pc.Owner.Sees(nil)
			if err := errors.Join(harvest.Resume(), situations[name]()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(25 * time.Minute)
			why := harvest.Status().Decision.Reason
			if n := coresOf(t, pc, g.Agents[0]); n != 0 || whys[why] != "" {
				t.Errorf("%s: %d cores are offered, because: %s, as when %s", name, n, why, whys[why])
			}
			whys[why] = name
			now := answers(t, pc, who, with)
			if first == nil {
				first = now
			}
			expectSame(t, name, first, now)
		}
		pc.Owner.Sees(nil)
		time.Sleep(25 * time.Minute)
		if n := coresOf(t, pc, g.Agents[0]); n != gridtest.Slots {
			t.Errorf("nobody is here, and %d cores are offered: %s", n, harvest.Status().Decision.Why)
		}
		list := gridv1.Members_List_FullMethodName
		for question, told := range answers(t, pc, who, with) {
			if same := told == first[question]; same == strings.HasSuffix(question, list) {
				t.Errorf("nobody is here, and %s is told the same as before: %t", question, same)
			}
		}
	})
}

// TestOutsideNoPaths: where an agent keeps its data, which may have its user's name in it, is told to nobody, also where
// its disk is full and a file is gone.
func TestOutsideNoPaths(t *testing.T) {
	office(t, func(g *gridtest.Grid, pc *gridtest.Machine) {
		j := g.Submit(20)
		j.Await(time.Minute)
		who, with := outsiders(g), requests(j)
		program, err := pc.Node().Blobs.Path(j.Manifest.Program.Digest)
		if err = errors.Join(err, os.Remove(program)); err != nil {
			t.Fatal(err)
		}
		pc.Fill(&fs.PathError{Op: "write", Path: filepath.Join(pc.State, "records.db"), Err: errors.New("no space left on device")})
		k := g.Submit(20)
		k.Await(10 * time.Minute)
		time.Sleep(time.Minute)
		if pc.Refused() == 0 || pc.Node().Draining() == "" || !strings.HasPrefix(program, pc.State) {
			t.Fatalf("%d writes failed, %s is gone: this shows nothing", pc.Refused(), program)
		}
		with[gridv1.Blobs_Put_FullMethodName] = requests(k)[gridv1.Blobs_Put_FullMethodName]
		all := answers(t, pc, who, with)
		manifest, err := g.Agents[0].Node().Store.Get(jobs.Digest(k.ID))
		conn, cerr := who["coordinator"].Conn(pc.Node().Address(), pc.Node().ID())
		if err = errors.Join(err, cerr); err != nil {
			t.Fatal(err)
		}
		if _, err = records.Push(context.Background(), conn, []records.Offer{manifest}, false); err == nil {
			t.Fatal("a full disk took a record")
		}
		all["the coordinator brings a record and"] = err.Error()
		for question, told := range all {
			if strings.Contains(told, filepath.Dir(pc.State)) {
				t.Errorf("%s is told\n%s", question, told)
			}
		}
	})
}

// said is all that a machine has sent with calls in some time.
type said struct {
	mu  sync.Mutex // guards all
	all map[string]bool
}

func (s *said) hear(method string, m proto.Message) {
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // it was sent
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[fmt.Sprintf("%s %x", method, text)] = true
}

// begin forgets what was said, and returns it.
func (s *said) begin() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.all
	s.all = map[string]bool{}
	return was
}

// TestOutsideNothingFrozen: while the owner is there for less than it takes to give work back, a unit that stands still
// looks from outside like one that runs: what the PC asks, what it answers, and what stewards answer about it.
func TestOutsideNothingFrozen(t *testing.T) {
	office(t, func(g *gridtest.Grid, pc *gridtest.Machine) {
		said := &said{}
		said.begin()
		pc.Stop()
		pc.Sends = said.hear
		pc.Start()
		g.AwaitPool(3)
		for _, m := range g.Agents[:2] {
			m.Offer(agent.Offer{}) // all work is for the PC
		}
		g.Eventually(time.Hour, "the PC offers cores", func() bool { return coresOf(t, pc, g.Agents[0]) > 0 })
		offered := time.Now()
		g.Work(gridtest.Takes(24 * time.Hour))
		j := g.Submit(1)
		for pc.Stewards(j)[0] == pc { // it would ask itself
			j.Cancel()
			j = g.Submit(1)
		}
		g.Eventually(time.Minute, "its unit runs", func() bool { return len(g.InHand(pc)) == 1 })
		time.Sleep(5 * time.Minute) // what is told of a new job is told
		said.begin()
		who, with := outsiders(g), requests(j)
		ask := func() map[string]string {
			all := map[string]string{}
			for _, m := range g.Agents {
				for question, told := range answers(t, m, who, with) {
					all[m.IP+": "+question] = told
				}
			}
			return all
		}
		before := ask()
		// What is offered may change with the next period only, of ten minutes.
		time.Sleep(time.Until(offered.Add(30*time.Minute + 30*time.Second)))
		while := said.begin()
		pc.Owner.Types(true)
		time.Sleep(8 * time.Minute)
		if why := pc.Agent().Harvest().Status().Decision; why.Cores != 0 || len(g.InHand(pc)) != 1 {
			t.Fatalf("the unit does not stand still: %s, %d in hand", why.Why, len(g.InHand(pc)))
		}
		expectSame(t, "while it stands still", before, ask())
		asked := 0
		for m := range said.begin() {
			if strings.HasPrefix(m, gridv1.Steward_Exchange_FullMethodName) {
				asked++
			}
			if !while[m] {
				t.Errorf("while it stands still the PC says\n%s", m)
			}
		}
		if asked == 0 {
			t.Error("it has spoken to no steward: this shows nothing")
		}
	})
}

// TestOutsideEveryTenMinutes: however wildly an owner comes and goes, others see other numbers of cores of an office PC
// every ten minutes at most.
func TestOutsideEveryTenMinutes(t *testing.T) {
	hours, least := 12*time.Hour, 5
	if testing.Short() {
		hours, least = 2*time.Hour, 1
	}
	office(t, func(g *gridtest.Grid, pc *gridtest.Machine) {
		last, changed, changes := coresOf(t, pc, pc), time.Time{}, 0
		for end := time.Now().Add(hours); time.Now().Before(end); {
			if g.Rand.IntN(600) == 0 {
				pc.Owner.Types(g.Rand.IntN(2) == 0)
			}
			time.Sleep(time.Second)
			now := coresOf(t, pc, pc) // when it tells others
			if now == last {
				continue
			}
			if since := time.Since(changed); since < 10*time.Minute-time.Second {
				t.Errorf("from %d to %d cores %s after the last change", last, now, since)
			}
			last, changed, changes = now, time.Now(), changes+1
		}
		if changes < least {
			t.Errorf("%d changes in %s show nothing", changes, hours)
		}
	})
}
