package owner

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/agent/internal/local"
	"idlegrid/agent/peer"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// nobody is a PC that its owner left long ago.
type nobody struct{}

func (nobody) Changed() <-chan struct{} { return nil }

func (nobody) Observe(now time.Time) signals.Observation {
	return signals.Observation{
		Sessions: signals.Reading[[]signals.Session]{At: now}, Others: signals.Reading[float64]{At: now},
		Memory: signals.Reading[signals.Memory]{Value: signals.Memory{Total: 8 << 30, Available: 7 << 30}, At: now},
		Disk:   signals.Reading[float64]{At: now}, Power: signals.Reading[signals.Power]{None: true},
		Temperature: signals.Reading[float64]{None: true}, Presenting: signals.Reading[bool]{At: now},
		Programs: signals.Reading[[]string]{At: now}, Metered: signals.Reading[bool]{At: now},
	}
}

type pc struct {
	*Server
	harvest *harvest.Harvest
	work    *gridv1.AgentStatus
}

// newPC is a PC with four cores and this policy of the machine, on which nothing is decided yet.
func newPC(t *testing.T, machine string) *pc {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "machine.yaml")
	if err := os.WriteFile(file, []byte(machine), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	h, err := harvest.New(harvest.Options{
		Signals: nobody{}, Policy: policy.Open(policy.Paths{Machine: []string{file}, Owner: filepath.Join(dir, policy.OwnerFile)}), State: root, Cores: 4, Machine: 4,
		Apply: func(harvest.Decision) error { return nil }, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &pc{harvest: h, work: &gridv1.AgentStatus{Slots: 4}}
	o := New(Options{
		Grid: "testgrid", Class: peer.Office, Cores: 4, Harvest: h, History: openHistory(t, dir), Yields: func() string { return "by hand" },
		Work: func(_ context.Context, to *gridv1.AgentStatus) { to.Running, to.Idle = p.work.Running, p.work.Idle },
	})
	p.Server = NewServer(o, func() string { return "http://127.0.0.1:1/" })
	return p
}

// run decides until the test ends.
func (p *pc) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.harvest.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// methods calls each of the Owner's.
func methods(p *pc) map[string]func(context.Context) error {
	call := map[string]func(context.Context) error{}
	add := func(name string, f func(context.Context) error) { call[name] = f }
	add("Look", func(ctx context.Context) error { _, err := p.Look(ctx, &gridv1.LookRequest{}); return err })
	add("Why", func(ctx context.Context) error { _, err := p.Why(ctx, &gridv1.WhyRequest{}); return err })
	add("Pause", func(ctx context.Context) error { _, err := p.Pause(ctx, &gridv1.PauseRequest{}); return err })
	add("Resume", func(ctx context.Context) error { _, err := p.Resume(ctx, &gridv1.ResumeRequest{}); return err })
	add("StopJobs", func(ctx context.Context) error { _, err := p.StopJobs(ctx, &gridv1.PauseRequest{}); return err })
	add("History", func(ctx context.Context) error { _, err := p.History(ctx, &gridv1.HistoryRequest{}); return err })
	add("Policy", func(ctx context.Context) error { _, err := p.Policy(ctx, &gridv1.PolicyRequest{}); return err })
	add("SetPolicy", func(ctx context.Context) error {
		_, err := p.SetPolicy(ctx, &gridv1.SetPolicyRequest{Key: "idle"})
		return err
	})
	add("Panel", func(ctx context.Context) error { _, err := p.Panel(ctx, &gridv1.PanelRequest{}); return err })
	return call
}

// TestP10OwnerMethods: each method lets in the people at the PC and nobody else.
func TestP10OwnerMethods(t *testing.T) {
	p := newPC(t, "")
	call := methods(p)
	var all []string
	for _, m := range gridv1.Owner_ServiceDesc.Methods {
		all = append(all, m.MethodName)
	}
	slices.Sort(all)
	if known := slices.Sorted(maps.Keys(call)); len(gridv1.Owner_ServiceDesc.Streams) != 0 || !slices.Equal(known, all) {
		t.Errorf("this test has %q, the protocol %q", known, all)
	}
	for who, c := range map[string]struct {
		ctx     context.Context
		allowed bool
	}{
		"from nowhere":          {t.Context(), false},
		"a service":             {local.WithCaller(t.Context(), local.Caller{User: "33", PID: 7}), false},
		"in a session":          {local.WithCaller(t.Context(), local.Caller{User: "1000", Session: "3"}), true},
		"the administrator":     {local.WithCaller(t.Context(), local.Caller{User: "0", Root: true}), true},
		"the agent's own user":  {local.WithCaller(t.Context(), local.Caller{User: "99", SameUser: true}), true},
		"a session of no users": {local.WithCaller(t.Context(), local.Caller{Session: "3"}), true},
	} {
		for name, f := range call {
			err := f(c.ctx)
			if c.allowed && err != nil || !c.allowed && jobs.KindOf(err) != jobs.Denied {
				t.Errorf("%s, %s: %v, allowed %t", who, name, err, c.allowed)
			}
		}
	}
	r, err := p.owner.History(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range r.GetVisitors() {
		if v.GetWho() == "user 33" || v.GetCalls() != uint64(len(all)) {
			t.Errorf("visitor %v", v)
		}
	}
	if len(r.GetVisitors()) != 4 {
		t.Errorf("%d visitors", len(r.GetVisitors()))
	}
}

func person(t *testing.T) context.Context {
	t.Helper()
	return local.WithCaller(t.Context(), local.Caller{User: "1000", Session: "3"})
}

func (p *pc) look(t *testing.T) *gridv1.LookReply {
	t.Helper()
	synctest.Wait()
	r, err := p.Look(person(t), &gridv1.LookRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPC(t, "")
		if r := p.look(t); r.GetState() != Waiting || r.GetWhy() != "The agent starts just now" {
			t.Errorf("before the first look: %s, %s", r.GetState(), r.GetWhy())
		}
		p.run(t)
		if r := p.look(t); r.GetState() != Waiting || !strings.HasPrefix(r.GetWhy(), "Paused: this agent began to look 0 s ago") || r.GetUntilMs() == 0 {
			t.Errorf("just started: %s, %s", r.GetState(), r.GetWhy())
		}
		time.Sleep(time.Hour)
		p.work.Idle = []string{"no live job is known here"}
		if r := p.look(t); r.GetState() != Waiting || r.GetWhy() != "Nothing to do: no live job is known here" || r.GetCores() != 4 || r.GetOfCores() != 4 {
			t.Errorf("with no job: %v", r)
		}
		p.work.Running, p.work.Idle = []*gridv1.RunningUnit{{Name: "tour"}}, nil
		p.harvest.Working(true)
		p.harvest.Ended(90*time.Second, false)
		r := p.look(t)
		if r.GetState() != Working || !strings.HasPrefix(r.GetWhy(), "4 of 4 cores: ") || len(r.GetRules()) < 10 || r.GetTodayMs() != 90_000 {
			t.Errorf("at work: %v", r)
		}
		if r.GetGrid() != "testgrid" || r.GetClass() != "office" || r.GetYields() != "by hand" {
			t.Errorf("what is kept: %v", r)
		}
		for i, unknown := range []bool{false, true, true} { // nobody here sees what others wait for
			if d := r.GetDisturbances()[i]; d.GetUnknown() != unknown || d.GetCount() != 0 {
				t.Errorf("disturbance %v", d)
			}
		}
		why, err := p.Why(person(t), &gridv1.WhyRequest{})
		if err != nil || len(why.GetDecisions()) < 2 || why.GetDecisions()[0].GetMode() != "freeze" {
			t.Errorf("why: %v, %v", why, err)
		}
	})
}

// TestPauseCannotBeLocked: whatever the machine's policy locks, people pause, stop and resume.
func TestPauseCannotBeLocked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPC(t, "locked: [in_use, away, hours, idle]\n")
		if r, err := p.Policy(person(t), &gridv1.PolicyRequest{}); err != nil || r.GetWrong() != "" || !r.GetSettings()[0].GetLocked() {
			t.Fatalf("policy %v, %v", r, err)
		}
		p.run(t)
		time.Sleep(time.Hour)
		p.work.Running = []*gridv1.RunningUnit{{Name: "tour"}}
		until := time.Now().Add(24 * time.Hour)
		for name, c := range map[string]struct {
			do    func(context.Context, *gridv1.PauseRequest) (*gridv1.PauseReply, error)
			ask   *gridv1.PauseRequest
			until int64
		}{
			"pause":           {p.Pause, &gridv1.PauseRequest{}, 0},
			"pause until":     {p.Pause, &gridv1.PauseRequest{UntilMs: until.UnixMilli()}, until.UnixMilli()},
			"pause for":       {p.Pause, &gridv1.PauseRequest{ForMs: 60_000}, -1},
			"stop jobs":       {p.StopJobs, &gridv1.PauseRequest{}, 0},
			"stop jobs until": {p.StopJobs, &gridv1.PauseRequest{UntilMs: until.UnixMilli()}, until.UnixMilli()},
		} {
			if c.until < 0 {
				c.until = time.Now().Add(time.Minute).UnixMilli()
			}
			reply, err := c.do(person(t), c.ask)
			if err != nil || reply.GetUntilMs() != c.until {
				t.Errorf("%s: %v, %v", name, reply, err)
			}
			r := p.look(t)
			if r.GetState() != Paused || r.GetCores() != 0 || r.GetPause() == nil || r.GetPause().GetUntilMs() != c.until ||
				r.GetPause().GetStopped() != strings.HasPrefix(name, "stop") {
				t.Errorf("%s: %v", name, r)
			}
			resumed, err := p.Resume(person(t), &gridv1.ResumeRequest{})
			if err != nil || !resumed.GetPaused() {
				t.Errorf("resume after %s: %v, %v", name, resumed, err)
			}
			time.Sleep(time.Hour)
			if r := p.look(t); r.GetState() != Working || r.GetPause() != nil {
				t.Errorf("after %s: %s, %s", name, r.GetState(), r.GetWhy())
			}
		}
		if r, err := p.Resume(person(t), &gridv1.ResumeRequest{}); err != nil || r.GetPaused() {
			t.Errorf("resume without a pause: %v, %v", r, err)
		}
	})
}

func TestSetPolicy(t *testing.T) {
	p := newPC(t, "locked: [idle]\n")
	set := func(key, value string) (*gridv1.SetPolicyReply, error) {
		return p.SetPolicy(person(t), &gridv1.SetPolicyRequest{Key: key, Value: &value})
	}
	r, err := set("away.cores", "2")
	if s := r.GetSetting(); err != nil || s.GetKey() != "away.cores" || s.GetValue() != "2" || s.GetLayer() != "owner" || r.GetWrong() != "" {
		t.Errorf("set: %v, %v", r, err)
	}
	if _, err := set("idle", "1h"); jobs.KindOf(err) != jobs.Denied {
		t.Errorf("a locked key: %v", err)
	}
	if _, err := set("away.cores", "many"); jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("a bad value: %v", err)
	}
	r, err = p.SetPolicy(person(t), &gridv1.SetPolicyRequest{Key: "away.cores"})
	if s := r.GetSetting(); err != nil || s.GetValue() != "100%" || s.GetLayer() != "built in" {
		t.Errorf("taken out: %v, %v", r, err)
	}
	if h, err := p.owner.History(0, 0); err != nil || h.GetVisitors()[0].GetWhat() != "SetPolicy" || h.GetVisitors()[0].GetCalls() != 4 {
		t.Errorf("who did that: %v, %v", h, err)
	}
}

func TestPauseRefuses(t *testing.T) {
	p := newPC(t, "")
	for name, r := range map[string]*gridv1.PauseRequest{
		"both":        {UntilMs: time.Now().Add(time.Hour).UnixMilli(), ForMs: 1000},
		"in the past": {UntilMs: 1},
		"negative":    {UntilMs: -1},
		"too long":    {ForMs: uint64((32 * 24 * time.Hour).Milliseconds())},
		"overflowing": {ForMs: 1<<64 - 1},
	} {
		if _, err := p.Pause(person(t), r); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if p.harvest.Status().Paused {
		t.Error("paused all the same")
	}
}

func TestTomorrow(t *testing.T) {
	for now, want := range map[string]string{
		"2026-11-26 17:30:12": "2026-11-27 06:00:00", "2026-11-26 01:00:00": "2026-11-27 06:00:00", "2026-12-31 23:59:59": "2027-01-01 06:00:00",
	} {
		at, err := time.ParseInLocation(time.DateTime, now, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		if got := Tomorrow(at).Format(time.DateTime); got != want {
			t.Errorf("%s: %s, expected %s", now, got, want)
		}
	}
}

func TestPolicyTellsWhatIsWrong(t *testing.T) {
	p := newPC(t, "idle: never ever\n")
	p.run(t)
	r, err := p.Policy(person(t), &gridv1.PolicyRequest{})
	if err != nil || !strings.Contains(r.GetWrong(), "machine.yaml:1") || len(r.GetSettings()) != 0 {
		t.Errorf("policy %v, %v", r, err)
	}
}
