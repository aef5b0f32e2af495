package gridtest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/node"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// control calls a machine's Control service with the key of another machine, or its own.
func control(t *testing.T, m, as *gridtest.Machine) gridv1.ControlClient {
	t.Helper()
	conn, err := as.Node().Dialer.Conn(m.Node().Address(), m.Node().ID())
	if err != nil {
		t.Fatal(err)
	}
	return gridv1.NewControlClient(conn)
}

// statusOf asks a machine how it is, as the command on it does.
func statusOf(t *testing.T, m *gridtest.Machine) *gridv1.StatusReply {
	t.Helper()
	reply, err := control(t, m, m).Status(context.Background(), &gridv1.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// TestP10ControlIsForThePeerItself: an agent and the coordinator may call Control by their roles, and each is heard
// at home only.
func TestP10ControlIsForThePeerItself(t *testing.T) {
	gridtest.Run(t, 2, func(g *gridtest.Grid) {
		for _, other := range []*gridtest.Machine{g.Agents[1], g.Coordinator} {
			c := control(t, g.Agents[0], other)
			_, err := c.Status(g.T.Context(), &gridv1.StatusRequest{})
			if jobs.KindOf(err) != jobs.Denied || jobs.HintOf(err) == "" {
				t.Errorf("%s asks for the status of another: %v", other.IP, err)
			}
			if err := leave(t, g.Agents[0], other, time.Minute, true); jobs.KindOf(err) != jobs.Denied || jobs.HintOf(err) == "" {
				t.Errorf("%s tells another to leave: %v", other.IP, err)
			}
		}
		if s := statusOf(t, g.Agents[0]); len(s.GetMembers()) != 3 || s.GetSelf().GetDraining() {
			t.Errorf("status %v", s)
		}
	})
}

// TestStatus holds what status says of work, of stewardships, and of why slots are free.
func TestStatus(t *testing.T) {
	gridtest.Run(t, 2, func(g *gridtest.Grid) {
		expectIdle(t, g.Agents[0], "no live job is known here")
		g.Work(gridtest.Takes(10 * time.Minute))
		j := g.Submit(3)
		time.Sleep(30 * time.Second)
		running := 0
		for _, m := range g.Agents {
			a := statusOf(t, m).GetAgent()
			running += len(a.GetRunning())
			if a.GetSlots() != gridtest.Slots || len(a.GetStewardships()) != 1 {
				t.Fatalf("%s: %v", m.IP, a)
			}
			for _, u := range a.GetRunning() {
				if u.GetName() != j.Manifest.Name || u.GetOwner() != "alice" || time.Since(time.UnixMilli(u.GetSinceMs())) > time.Minute {
					t.Errorf("%s runs %v", m.IP, u)
				}
			}
			if s := a.GetStewardships()[0]; s.GetOpen() != 3 || s.GetRank() == 1 && (s.GetLent() != 3 || s.GetLessees() != 2) {
				t.Errorf("%s stewards %v", m.IP, s)
			}
			if len(a.GetRunning()) < gridtest.Slots {
				expectIdle(t, m, "the steward of job "+j.Manifest.Name+" lends none of its 3 open units now")
			}
		}
		if running != 3 {
			t.Errorf("%d of three units run", running)
		}
		j.Await(time.Hour)
		time.Sleep(5 * time.Minute)
		for _, m := range g.Agents {
			expectIdle(t, m, "no open units in any live job")
			if a := statusOf(t, m).GetAgent(); a.GetReportsWaiting() != 0 || a.GetUnkeptBytes() != 0 || a.GetHeld() != 0 {
				t.Errorf("nothing waits, but %s: %v", m.IP, a)
			}
		}
	})
}

// expectIdle fails the test unless one of a machine's reasons begins so.
func expectIdle(t *testing.T, m *gridtest.Machine, want string) {
	t.Helper()
	idle := statusOf(t, m).GetAgent().GetIdle()
	if !slices.ContainsFunc(idle, func(why string) bool { return strings.HasPrefix(why, want) }) {
		t.Errorf("%s is idle because of %q, expected %q", m.IP, idle, want)
	}
}

// TestFaultIsShown: package worker tests the other reasons.
func TestFaultIsShown(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		m := g.Agents[0]
		gate := make(chan error)
		g.Prepare(func(*executor.Program) error { return <-gate })
		j := g.Submit(100)
		time.Sleep(5 * time.Second)
		expectIdle(t, m, "the program of job "+j.Manifest.Name+" is being fetched")
		gate <- errors.New("no disk")
		time.Sleep(time.Second)
		expectIdle(t, m, "job "+j.Manifest.Name+" rests here for 29s after a fault: cannot prepare the job's program: no disk")
		close(gate)
		j.Await(time.Hour)
	})
}

func TestStatusOfAFolder(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		m := g.Agents[0]
		m.Stop()
		if _, err := node.AskStatus(g.T.Context(), m.State); !errors.Is(err, node.ErrNotRunning) {
			t.Errorf("nothing runs: %v", err)
		}
		if _, err := node.AskStatus(g.T.Context(), t.TempDir()); jobs.KindOf(err) != jobs.NotFound || jobs.HintOf(err) == "" {
			t.Errorf("nobody joined: %v", err)
		}
	})
}

// TestCoordinatorStatus holds what a coordinator says of jobs before and after it could hand them over.
func TestCoordinatorStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := gridtest.New(t)
		j := g.Submit(20)
		time.Sleep(10 * time.Second)
		s := statusOf(t, g.Coordinator).GetCoordinator()
		if len(s.GetJobs()) != 1 || len(s.GetOwners()) != 1 || s.GetOwners()[0].GetOwner() != "alice" || s.GetIssuerEndsMs() == 0 {
			t.Fatalf("status %v", s)
		}
		if w := s.GetJobs()[0]; w.GetSeeded() != 0 || w.GetState() != "unknown" || w.GetBlobsWaiting() != 1 || w.GetWhy() == "" {
			t.Errorf("without agents the job is %v", w)
		}
		if p := s.GetProblems(); !slices.Equal(p, []string{"no agent can be reached: jobs wait until one can"}) {
			t.Errorf("problems %q", p)
		}
		for range 2 {
			g.Add(peer.AlwaysOn).Start()
		}
		g.AwaitPool(2)
		j.Await(time.Minute)
		time.Sleep(30 * time.Second)
		s = statusOf(t, g.Coordinator).GetCoordinator()
		if w := s.GetJobs()[0]; w.GetSeeded() != 2 || w.GetState() != "done" || w.GetAccepted() != 20 || w.GetBlobsWaiting() != 0 || w.GetWhy() != "" {
			t.Errorf("done, but the job is %v", w)
		}
		if p := s.GetProblems(); len(p) != 0 {
			t.Errorf("problems %q", p)
		}
		if err := leave(t, g.Coordinator, g.Coordinator, time.Minute, true); jobs.KindOf(err) != jobs.Unsupported {
			t.Errorf("a coordinator leaves: %v", err)
		}
	})
}
