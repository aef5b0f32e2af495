package gridtest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// leave tells a machine to leave, with a key, and returns how that ended. A machine that has left still has to be
// stopped: its daemon has ended by itself.
func leave(t *testing.T, m, as *gridtest.Machine, timeout time.Duration, force bool) error {
	t.Helper()
	stream, err := control(t, m, as).Leave(context.Background(), &gridv1.LeaveRequest{TimeoutMs: uint32(timeout.Milliseconds()), Force: force})
	for err == nil {
		var p *gridv1.LeaveProgress
		if p, err = stream.Recv(); err == nil && p.GetDone() {
			_, err = stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
	return err
}

// TestLeave: an agent leaves while a job runs, and another with the results when it is done. Nothing is run again
// that was done, and everything can be read when those who did it are gone.
func TestLeave(t *testing.T) {
	gridtest.Run(t, 4, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		j := g.Submit(200)
		time.Sleep(10 * time.Second)
		first := g.Agents[0]
		ran := j.RanOn(first)
		begun := time.Now()
		if err := leave(t, first, first, 2*time.Minute, false); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("leaving took %s", took)
		}
		first.Stop()
		j.Await(5 * time.Minute)
		if ran == 0 || j.RanOn(first) > ran+gridtest.Slots {
			t.Errorf("it had run %d units, and %d in the end", ran, j.RanOn(first))
		}
		if again := ranAgain(j); again > gridtest.Slots {
			t.Errorf("%d units ran twice: only those that were given back may", again)
		}
		// Then all but two, one after the other: what they keep moves on each time.
		if err := leave(t, g.Agents[1], g.Agents[1], 2*time.Minute, false); err != nil {
			t.Fatal(err)
		}
		g.Agents[1].Stop()
		j.Complete()
		for _, m := range g.Agents[2:] {
			if c := j.Counts(m); c.Accepted != 200 {
				t.Errorf("%s has %d units accepted", m.IP, c.Accepted)
			}
		}
	})
}

// TestLeaveHandsOverCheckpoints: the author of a checkpoint is off and those who hold it leave, one after the other. The unit
// goes on from there all the same.
func TestLeaveHandsOverCheckpoints(t *testing.T) {
	gridtest.Run(t, 5, func(g *gridtest.Grid) {
		g.Work(saves(20 * time.Minute))
		var j *gridtest.Job
		var author *gridtest.Machine
		var holders []*gridtest.Machine
		// Who lends the unit next must not be among those that go: they take along what they were told of checkpoints.
		for j == nil || slices.Contains(append(holders, author), g.Coordinator.Stewards(j)[0]) {
			j = g.Submit(1, saved)
			time.Sleep(5*time.Minute + 30*time.Second)
			author, holders = running(t, j, 0).On, nil
			for _, m := range g.Agents {
				if m != author && holdsCheckpointOf(m, j) {
					holders = append(holders, m)
				}
			}
		}
		if len(holders) != peer.CheckpointCopies {
			t.Fatalf("%d agents hold the checkpoint", len(holders))
		}
		author.Cut()
		for _, m := range holders {
			if err := leave(t, m, m, 2*time.Minute, false); err != nil {
				t.Fatal(err)
			}
			m.Stop()
		}
		g.Eventually(5*time.Minute, "the unit runs on an agent that stayed", func() bool {
			runs := j.Runs(0)
			return runs[len(runs)-1].Running && runs[len(runs)-1].On != author
		})
		if next := running(t, j, 0); next.From < 4*time.Minute {
			t.Errorf("it goes on from %s", next.From)
		}
	})
}

// holdsCheckpointOf reports whether an agent has parts of a checkpoint of a job's unit by another.
func holdsCheckpointOf(m *gridtest.Machine, j *gridtest.Job) bool {
	return slices.ContainsFunc(m.Node().Blobs.List(), func(k blobs.Kept) bool {
		return slices.ContainsFunc(k.Claims, func(c blobs.Claim) bool {
			return c.Job == j.ID && c.Kind == blobs.Checkpoint && c.Author != m.Node().ID()
		})
	})
}

// ranAgain counts the units that ended more than once.
func ranAgain(j *gridtest.Job) int {
	again := 0
	for u := range j.Manifest.Units {
		ended := 0
		for _, r := range j.Ran(u) {
			if !r.Ended.IsZero() {
				ended++
			}
		}
		again += max(0, ended-1)
	}
	return again
}

// TestTheLastHolderLeaves: what one agent alone has goes to the one that came while it was at work.
func TestTheLastHolderLeaves(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		j := g.Submit(50)
		j.Await(time.Minute)
		lone := g.Agents[0]
		late := g.Add(peer.AlwaysOn)
		late.Start()
		g.AwaitPool(2)
		// The first copies may be on their way as soon as the newcomer is seen.
		if n, all := len(late.Node().Blobs.List()), len(lone.Node().Blobs.List()); n == all {
			t.Fatalf("the newcomer has all of %d blobs before the other leaves", n)
		}
		if err := leave(t, lone, lone, time.Minute, false); err != nil {
			t.Fatal(err)
		}
		lone.Stop()
		j.Complete()
		if n := j.RanOn(late); n != 0 {
			t.Errorf("%d units ran again", n)
		}
	})
}

// TestP1LeaveAtOnce: agents that leave at the same moment do not hand over to each other and go.
func TestP1LeaveAtOnce(t *testing.T) {
	for _, c := range []struct{ agents, leave int }{{2, 2}, {4, 3}, {6, 4}} {
		t.Run(fmt.Sprintf("%d of %d", c.leave, c.agents), func(t *testing.T) {
			gridtest.Run(t, c.agents, func(g *gridtest.Grid) { leaveAtOnce(t, g, c.leave) })
		})
	}
}

// leaveAtOnce has those leave who keep the reports and those who would be next.
func leaveAtOnce(t *testing.T, g *gridtest.Grid, n int) {
	j := g.Submit(50)
	j.Await(time.Minute)
	var leavers []*gridtest.Machine
	for _, m := range peer.Rank(append(j.ID[:], 0, 0, 0, 0), g.Coordinator.Node().Members(), n) {
		leavers = append(leavers, g.Machine(m))
	}
	g.Coordinator.Stop()
	left := make([]error, len(leavers))
	var asked sync.WaitGroup
	for i, m := range leavers {
		asked.Go(func() { left[i] = leave(t, m, m, 2*time.Minute, false) })
	}
	asked.Wait()
	for i, m := range leavers {
		if left[i] == nil {
			m.Stop()
		} else if len(leavers) < len(g.Agents) {
			t.Errorf("an agent cannot leave, though others stay: %v", left[i])
		}
	}
	if len(g.On()) == 0 {
		t.Fatal("everybody has left, and nobody has the results")
	}
	j.Complete() // by what is in the pool: the coordinator, which has copies, is off
}

// TestCannotLeave: the only agent cannot hand anything over. It goes on, and the error says what is left.
func TestCannotLeave(t *testing.T) {
	gridtest.Run(t, 1, func(g *gridtest.Grid) {
		g.Work(gridtest.Takes(time.Second))
		m := g.Agents[0]
		j := g.Submit(100)
		time.Sleep(5 * time.Second)
		err := leave(t, m, m, 10*time.Second, false)
		if jobs.KindOf(err) != jobs.Unavailable || !strings.Contains(jobs.HintOf(err), "--force") ||
			!strings.Contains(err.Error(), "not handed over in time: ") || strings.Contains(err.Error(), " 0 blobs") {
			t.Errorf("the only agent leaves: %v, hint %q", err, jobs.HintOf(err))
		}
		if s := statusOf(t, m); s.GetDrainingWhy() != "" || !m.On() {
			t.Errorf("it does not go on: %v", s)
		}
		j.Await(5 * time.Minute)
		// Who asked goes away: the agent goes on, forced or not.
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		stream, err := control(t, m, m).Leave(ctx, &gridv1.LeaveRequest{TimeoutMs: 60_000, Force: true})
		for err == nil {
			_, err = stream.Recv()
		}
		time.Sleep(time.Second)
		if s := statusOf(t, m); s.GetDrainingWhy() != "" {
			t.Errorf("nobody waits for it to leave, but %s", s.GetDrainingWhy())
		}
		j.Complete()
		if err := leave(t, m, m, 5*time.Second, true); err != nil {
			t.Errorf("forced: %v", err)
		}
		m.Stop()
	})
}
