package seeding_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/jobtest"
	"idlegrid/coordinator/internal/seeding"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// scene is a seeder and a pool that writes down what it is given.
type scene struct {
	*jobtest.Pool
	seeder *seeding.Seeder
	blobs  *blobs.Memory

	mu       sync.Mutex // guards everything below
	steps    []string   // push, blob and fresh, in order; pushes to several agents at once are one step
	pushed   map[string][]jobs.AgentID
	off      map[jobs.AgentID]bool
	refuse   bool
	noHolder bool
	placing  func(context.Context) // what happens while a blob is on its way
}

func newScene(t *testing.T, agents int) *scene {
	s := &scene{
		Pool: jobtest.NewPool(t, agents), blobs: blobs.NewMemory(0),
		pushed: map[string][]jobs.AgentID{}, off: map[jobs.AgentID]bool{},
	}
	s.Answer = s.answer
	s.restart()
	return s
}

func (s *scene) restart() {
	s.seeder = seeding.New(seeding.Options{
		Store: s.Store, Blobs: s.blobs, Place: s.place, Dial: s.Dial, Members: s.Members,
		Log: slog.New(slog.DiscardHandler),
	})
}

func (s *scene) answer(to jobs.AgentID, method string, request any) (proto.Message, error) {
	push, ok := request.(*gridv1.PushRequest)
	if !ok || len(push.GetRecords()) != 1 {
		return nil, jobs.Errorf(jobs.Invalid, "%s with %v", method, request)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.off[to] {
		return nil, jobs.Errorf(jobs.Unavailable, "this agent is off")
	}
	if s.refuse {
		return &gridv1.PushReply{Refused: []*gridv1.Refusal{{Reason: "the clocks differ"}}}, nil
	}
	step := "push"
	if push.GetFresh() {
		step = "fresh"
	}
	s.note(step)
	s.pushed[step] = append(s.pushed[step], to)
	return nil, nil
}

// note writes a step down, unless it goes on.
func (s *scene) note(step string) {
	if n := len(s.steps); n == 0 || s.steps[n-1] != step {
		s.steps = append(s.steps, step)
	}
}

func (s *scene) place(ctx context.Context, _ blobs.Claim, b jobs.Blob, members []peer.Member) ([]record.Envelope, error) {
	if s.placing != nil {
		s.placing(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noHolder {
		return nil, jobs.Errorf(jobs.Unavailable, "no holder answers")
	}
	s.note(fmt.Sprintf("blob %d to %d, %d needed", b.Size, len(peer.Holders(b.Digest, members, peer.Copies)), peer.Needed(members)))
	return make([]record.Envelope, peer.Needed(members)), nil
}

func (s *scene) seed(t *testing.T, job records.Job, want int) {
	t.Helper()
	if n := s.seeder.Seed(t.Context(), job.ID, true); n != want {
		t.Errorf("handed over to %d agents, expected %d", n, want)
	}
}

// withInputs gives the job two inputs, one of them twice, whose list is in the store.
func (s *scene) withInputs(t *testing.T) records.Job {
	t.Helper()
	a, b := jobs.Blob{Digest: jobs.DigestOf([]byte("a")), Size: 1}, jobs.Blob{Digest: jobs.DigestOf([]byte("bb")), Size: 2}
	list, err := manifest.EncodeInputs([]manifest.Input{{Path: "a", Blob: a}, {Path: "b", Blob: b}, {Path: "c", Blob: a}})
	if err != nil {
		t.Fatal(err)
	}
	in := jobs.Blob{Digest: jobs.DigestOf(list), Size: int64(len(list))}
	job := s.Admit("inputs", func(m *manifest.Manifest) { m.Inputs = in })
	if err := s.blobs.Put(blobs.For(job.ID), in, bytes.NewReader(list)); err != nil {
		t.Fatal(err)
	}
	return job
}

// TestOrder hands a job over: the manifest first, or nobody would take its blobs, and the word that it is
// fresh last, when all that a unit needs is in place.
func TestOrder(t *testing.T) {
	s := newScene(t, 5)
	job := s.withInputs(t)
	s.seed(t, job, peer.Copies)
	size := job.Manifest.Inputs.Size
	blob := func(size int64) string { return fmt.Sprintf("blob %d to 3, 2 needed", size) }
	want := []string{"push", blob(7), blob(size), blob(1), blob(2), "fresh"}
	if !slices.Equal(s.steps, want) {
		t.Errorf("steps %q, expected %q", s.steps, want)
	}
	stewards := peer.Stewards(jobs.ShardID{Job: job.ID}, s.Members())
	if len(s.pushed["fresh"]) != len(stewards) {
		t.Errorf("%d agents were told that it is fresh, expected %d stewards", len(s.pushed["fresh"]), len(stewards))
	}
	for _, m := range append(stewards, peer.Holders(job.Manifest.Program.Digest, s.Members(), peer.Copies)...) {
		if !slices.Contains(s.pushed["push"], m.ID) {
			t.Errorf("%s, a steward or holder, was not given the manifest", m.Address)
		}
	}
	s.seed(t, job, peer.Copies) // and not again
	if len(s.steps) != len(want) {
		t.Errorf("a job that was handed over is handed over again: %q", s.steps)
	}
}

func TestSmallPool(t *testing.T) {
	s := newScene(t, 1)
	s.seed(t, s.Admit("one", nil), 1)
	if want := []string{"push", "blob 7 to 1, 1 needed", "fresh"}; !slices.Equal(s.steps, want) {
		t.Errorf("steps %q, expected %q", s.steps, want)
	}
}

// TestFaults lets agents be off, refuse or hold nothing: as long as one steward has the job it goes on.
func TestFaults(t *testing.T) {
	s := newScene(t, 3)
	job := s.Admit("faults", nil)
	if n := s.seeder.Seed(t.Context(), jobs.JobID{1}, true); n != 0 {
		t.Errorf("a job that nobody knows was handed over to %d", n)
	}
	s.noHolder = true
	s.seed(t, job, 0)
	s.noHolder, s.refuse = false, true
	s.seed(t, job, 0)
	s.refuse = false
	for _, a := range s.Agents() {
		s.off[a.ID] = true
	}
	s.seed(t, job, 0)
	delete(s.off, s.Agents()[1].ID)
	s.seed(t, job, 1)
}

// TestP5EndedIsNotHandedOver ends a job before its hand-over, and another while a blob is on its way.
func TestP5EndedIsNotHandedOver(t *testing.T) {
	s := newScene(t, 3)
	gone, job := s.Admit("gone", nil), s.withInputs(t)
	s.Cancel(gone.ID)
	s.seed(t, gone, 0)
	if len(s.steps) > 0 {
		t.Errorf("of a cancelled job: %q", s.steps)
	}
	s.placing = func(ctx context.Context) {
		s.Cancel(job.ID)
		s.seeder.Ended(job.ID)
		if ctx.Err() == nil {
			t.Error("the blob is still on its way")
		}
	}
	s.seed(t, job, 0)
	s.placing = nil
	s.seed(t, job, 0)
	if want := []string{"push", "blob 7 to 3, 2 needed"}; !slices.Equal(s.steps, want) {
		t.Errorf("steps %q, expected %q", s.steps, want)
	}
}

// TestRun admits a job while no agent is here.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScene(t, 2)
		agents := s.Agents()
		s.SetAgents(nil)
		known, lost := s.Admit("known", nil), s.withInputs(t)
		program := []byte("program")
		if err := s.blobs.Put(blobs.For(known.ID), known.Manifest.Program, bytes.NewReader(program)); err != nil {
			t.Fatal(err)
		}
		if err := blobs.Forget(s.blobs, lost.ID); err != nil { // as with the disk
			t.Fatal(err)
		}
		stop := s.start()
		synctest.Wait()
		s.seed(t, s.Admit("new", func(m *manifest.Manifest) { m.Program.Size = 8 }), 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(s.steps) != 0 {
			t.Errorf("without agents: %q", s.steps)
		}
		s.SetAgents(agents)
		time.Sleep(10 * time.Second)
		stop()
		// The two go side by side. The known job may have been lent by those who have it, and is not called fresh.
		blob, fresh := slices.Index(s.steps, "blob 8 to 2, 2 needed"), slices.Index(s.steps, "fresh")
		if blob < 0 || fresh < blob || len(s.pushed["fresh"]) != 2 || !slices.Contains(s.steps, "blob 7 to 2, 2 needed") {
			t.Errorf("steps %q, fresh to %d agents", s.steps, len(s.pushed["fresh"]))
		}
		for _, id := range []jobs.JobID{known.ID, lost.ID} {
			if n := s.seeder.Seed(t.Context(), id, false); n != 2 {
				t.Errorf("a job that was known was handed over to %d", n)
			}
		}
		for _, step := range s.steps {
			if strings.Contains(step, "blob") && !strings.Contains(step, "blob 7") && !strings.Contains(step, "blob 8") {
				t.Errorf("%s, which is not here", step)
			}
		}
	})
}

// start runs the seeder until the returned function is called.
func (s *scene) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.seeder.Run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}
