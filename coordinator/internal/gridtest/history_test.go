package gridtest_test

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/gridtest"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// heard is what a machine's owner may read of what happened there.
type heard struct {
	mu sync.Mutex // guards what follows
	news
}

type news struct {
	units   int
	in, out int64
	over    []jobs.JobID
	looked  map[string]string // who → what was read last
}

// now returns what was heard so far.
func (h *heard) now() news {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.news
	n.over, n.looked = slices.Clone(n.over), maps.Clone(n.looked)
	return n
}

func (h *heard) hooks() agent.Hooks {
	do := func(f func()) {
		h.mu.Lock()
		defer h.mu.Unlock()
		f()
	}
	h.looked = map[string]string{}
	return agent.Hooks{
		Ran: func(agent.Ended) { do(func() { h.units++ }) },
		Moved: func(_ records.Job, in, out int64) {
			do(func() {
				h.in += in
				h.out += out
			})
		},
		Over:   func(id jobs.JobID) { do(func() { h.over = append(h.over, id) }) },
		Looked: func(who, what string) { do(func() { h.looked[who] = what }) },
	}
}

// hearing runs f in a bubble with a grid of agents and what each of them tells.
func hearing(t *testing.T, agents int, f func(*gridtest.Grid, map[*gridtest.Machine]*heard)) {
	if testing.Short() && agents > 4 {
		t.Skipf("a grid of %d agents takes too long for -short", agents)
	}
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		g, all := gridtest.New(t), map[*gridtest.Machine]*heard{}
		for range agents {
			m, h := g.Add(peer.AlwaysOn), &heard{}
			m.Hooks, all[m] = h.hooks(), h
			m.Start()
		}
		g.AwaitPool(agents)
		f(g, all)
	})
}

// TestHistoryHearsOfBytes: those who should hold a job's program have it before they run anything, and others fetch it
// once; who goes on with a unit fetches its checkpoint.
func TestHistoryHearsOfBytes(t *testing.T) {
	hearing(t, 8, func(g *gridtest.Grid, all map[*gridtest.Machine]*heard) {
		g.Work(gridtest.Takes(5 * time.Second))
		program := []byte(strings.Repeat("a program ", 1000))
		j := g.User.SubmitProgram(program, 160)
		j.Await(10 * time.Minute)
		had, fetched := 0, 0
		for m, h := range all {
			h := h.now()
			switch {
			case h.units == 0 || h.out != 0:
				t.Errorf("%s ran %d units, %d bytes of checkpoints", m.IP, h.units, h.out)
			case h.in == 0:
				had++
			case h.in == int64(len(program)):
				fetched++
			default:
				t.Errorf("%s fetched %d bytes of a program of %d", m.IP, h.in, len(program))
			}
		}
		if had < peer.Copies || fetched == 0 {
			t.Errorf("%d agents had the program and %d fetched it", had, fetched)
		}

		g.Work(saves(20 * time.Minute))
		k := g.Submit(1, saved)
		time.Sleep(5*time.Minute + 30*time.Second)
		on := running(t, k, 0).On
		if all[on].now().out == 0 {
			t.Error("nobody heard of checkpoints")
		}
		before := map[*gridtest.Machine]int64{}
		for m, h := range all {
			h := h.now()
			before[m] = h.in
		}
		on.Stop()
		next, _ := goesOn(g, k, 1, 3*time.Minute)
		time.Sleep(time.Minute)
		h := all[next.On].now()
		if next.On == on || next.From == 0 || h.in <= before[next.On] && h.out == 0 {
			t.Errorf("it went on from %s on %s, which fetched %d bytes", next.From, next.On.IP, h.in-before[next.On])
		}
	})
}

// TestHistoryHearsOfEnds: of jobs that are cancelled, sealed or past their time.
func TestHistoryHearsOfEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("a day until a job expires takes too long for -short")
	}
	hearing(t, 2, func(g *gridtest.Grid, all map[*gridtest.Machine]*heard) {
		cancelled, expired := g.Submit(2), g.Submit(2)
		cancelled.Await(time.Minute)
		expired.Await(time.Minute)
		cancelled.Cancel()
		time.Sleep(2 * time.Minute)
		for m, h := range all {
			h := h.now()
			if !slices.Contains(h.over, cancelled.ID) || slices.Contains(h.over, expired.ID) {
				t.Errorf("%s heard of the ends of %v", m.IP, h.over)
			}
		}
		time.Sleep(25 * time.Hour)
		for m, h := range all {
			h := h.now()
			if !slices.Contains(h.over, expired.ID) {
				t.Errorf("%s heard of the ends of %v", m.IP, h.over)
			}
		}
	})
}

// TestHistoryHearsWhoLooks: people who read something over the network, and no machine in the course of work.
func TestHistoryHearsWhoLooks(t *testing.T) {
	hearing(t, 3, func(g *gridtest.Grid, all map[*gridtest.Machine]*heard) {
		j := g.Submit(20)
		j.Await(time.Minute)
		time.Sleep(5 * time.Minute)
		for m, h := range all {
			h := h.now()
			if len(h.looked) > 0 {
				t.Errorf("while nobody looked %s heard of %v", m.IP, h.looked)
			}
		}
		operator, other := g.NewUser(peer.Operator, "anna"), g.NewUser(peer.Submitter, "")
		m := g.Agents[0]
		for _, u := range []*gridtest.User{operator, other} {
			conn, err := u.Conn(m)
			if err == nil {
				_, err = gridv1.NewMembersClient(conn).List(g.T.Context(), &gridv1.ListRequest{})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		conn, err := g.Coordinator.Node().Dialer.Conn(m.Node().Address(), m.Node().ID())
		if err != nil {
			t.Fatal(err)
		}
		told, err := gridv1.NewMachineClient(conn).Inspect(g.T.Context(), &gridv1.InspectRequest{Viewer: "operator olga, key 12345678"})
		if err != nil || told.GetBuild() == "" || told.GetBlobs() == 0 || told.GetCertificateEndsMs() == 0 || told.GetDrainingWhy() != "" {
			t.Errorf("the coordinator is told %v, %v", told, err)
		}
		want := map[string]string{
			"operator olga, key 12345678, by the coordinator's page": "this machine: version, clock, certificate, how much it keeps",

			"operator anna, key " + operator.Identity.ID().Short(): "who is in the pool",
			"submitter with key " + other.Identity.ID().Short():    "who is in the pool",
		}
		if h := all[m].now(); !maps.Equal(h.looked, want) {
			t.Errorf("heard of %v, expected %v", h.looked, want)
		}
		j.Complete() // as its submitter does
		read := 0
		for _, h := range all {
			h := h.now()
			read += len(h.looked)
		}
		if read <= len(want) {
			t.Error("nobody heard of the submitter who reads results")
		}
	})
}
