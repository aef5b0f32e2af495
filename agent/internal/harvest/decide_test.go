package harvest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
)

var morning = time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC) // a Thursday

func read[T any](at time.Time, value T) signals.Reading[T] {
	return signals.Reading[T]{Value: value, At: at}
}

// quiet is what is seen of a desktop PC of 16 GiB whose owner has used it last at a time.
func quiet(now, input time.Time) signals.Observation {
	return signals.Observation{
		Sessions: read(now, []signals.Session{{ID: "2", User: "1000", Kind: signals.Graphical, Input: input, Reported: now}}),
		Others:   read(now, 0.1), Memory: read(now, signals.Memory{Total: 16 << 30, Available: 12 << 30}),
		Disk: read(now, 0.0), Power: signals.Reading[signals.Power]{None: true}, Temperature: read(now, 50.0),
		Presenting: read(now, false), Programs: read(now, []string(nil)), Metered: read(now, false),
	}
}

// world plays one PC second by second.
type world struct {
	in    Input
	state State
	d     Decision
	see   func(*signals.Observation) // what is other than quiet
	input time.Time
}

func newWorld() *world {
	p := policy.Defaults()
	w := &world{in: Input{Now: morning, Policy: &p, Cores: 8, Most: 8}, input: morning}
	w.look()
	return w
}

func (w *world) look() Decision {
	w.in.Seen = quiet(w.in.Now, w.input)
	if w.see != nil {
		w.see(&w.in.Seen)
	}
	w.d, w.state = Decide(w.in, w.state)
	return w.d
}

func (w *world) pass(d time.Duration) Decision {
	for end := w.in.Now.Add(d); w.in.Now.Before(end); {
		w.in.Now = w.in.Now.Add(time.Second)
		w.look()
	}
	return w.d
}

func (w *world) expect(t *testing.T, what string, cores int, giveBack bool, why string) {
	t.Helper()
	if w.d.Cores != cores || w.d.GiveBack != giveBack || w.d.Why != why {
		t.Errorf("%s: %d cores, give back %v, %q\nexpected %d, %v, %q", what, w.d.Cores, w.d.GiveBack, w.d.Why, cores, giveBack, why)
	}
}

func TestOwnerComesAndGoes(t *testing.T) {
	w := newWorld()
	w.expect(t, "at the start", 0, false, "Paused: this agent began to look 0 s ago; work waits 5 min from then")
	w.pass(40 * time.Second)
	w.expect(t, "soon after", 0, false, "Paused: this agent began to look 40 s ago; work waits 5 min from then")
	if want := morning.Add(5 * time.Minute); !w.d.Until.Equal(want) {
		t.Errorf("until %s, expected %s", w.d.Until, want)
	}
	w.pass(4*time.Minute + 20*time.Second)
	w.expect(t, "idle", 8, false, "8 of 8 cores: nobody has used this PC for 5 min")
	if w.d.Memory != 8<<30 || w.d.Disk != 50<<20 || w.d.Network != 8<<20 || w.d.Mode() != Run {
		t.Errorf("away: %+v", w.d)
	}
	w.input = w.in.Now.Add(900 * time.Millisecond)
	w.pass(time.Second)
	w.expect(t, "back", 0, false, "Paused: keyboard or mouse used 0 s ago; work waits 5 min from then")
	if !w.d.Input.Equal(w.input) || w.d.Memory != 4<<30 || w.d.Disk != 5<<20 || w.d.Mode() != Freeze {
		t.Errorf("in use: %+v", w.d)
	}
	w.pass(time.Second)
	if !w.d.Input.IsZero() {
		t.Error("an input is news twice")
	}
	for range 9 { // typing, a key a minute
		w.input = w.in.Now
		w.pass(time.Minute)
	}
	w.expect(t, "frozen for 9 min", 0, false, "Paused: keyboard or mouse used 1 min ago; work waits 5 min from then")
	w.input = w.in.Now
	w.pass(time.Minute)
	w.expect(t, "frozen for 10 min", 0, true, "Paused: keyboard or mouse used 1 min ago; work waits 5 min from then")
	w.pass(4 * time.Minute)
	w.expect(t, "idle again", 8, false, "8 of 8 cores: nobody has used this PC for 5 min")
}

// TestResumeDelay: what is frozen goes on after its own delay, which may be another one than that of a start.
func TestResumeDelay(t *testing.T) {
	w := newWorld()
	w.in.Policy.Idle, w.in.Policy.Resume = 20*time.Minute, time.Minute
	if w.pass(20*time.Minute).Cores != 8 {
		t.Fatal(w.d.Why)
	}
	w.input = w.in.Now
	w.look()
	if w.d.Cores != 0 || w.pass(59*time.Second).Cores != 0 || w.pass(time.Second).Cores != 8 {
		t.Errorf("%d cores: %s", w.d.Cores, w.d.Why)
	}
	w.pass(time.Minute)
	for range 11 {
		w.input = w.in.Now
		w.pass(59 * time.Second)
	}
	if !w.d.GiveBack || w.pass(time.Minute).Cores != 0 || w.pass(19*time.Minute).Cores != 8 {
		t.Errorf("given back: %d cores: %s", w.d.Cores, w.d.Why)
	}
}

func TestLock(t *testing.T) {
	w := newWorld()
	w.see = func(o *signals.Observation) {
		o.Sessions.Value[0].Locked, o.Sessions.Value[0].Input = true, time.Time{}
	}
	w.pass(59 * time.Second)
	w.expect(t, "locked just now", 0, false, "Paused: this agent began to look 59 s ago; work waits 1 min from then")
	w.pass(time.Second)
	w.expect(t, "locked for a minute", 8, false, "8 of 8 cores: nobody has used this PC for 1 min")
	w.input = w.in.Now.Add(-time.Hour)
	w.see = nil
	w.look()
	w.expect(t, "unlocked by whatever is no input", 0, false, "Paused: somebody logged in or unlocked 0 s ago; work waits 5 min from then")
	if !w.d.Input.IsZero() {
		t.Error("unlocking is taken for an input of an hour ago")
	}
	w.see = func(o *signals.Observation) { o.Sessions.Value = nil }
	w.pass(time.Minute)
	w.expect(t, "logged out", 8, false, "8 of 8 cores: nobody is logged in")
	w.see = func(o *signals.Observation) {
		o.Sessions.Value = []signals.Session{{ID: "9", Kind: signals.Remote, Reported: w.in.Now, Input: w.in.Now}}
	}
	w.look()
	w.expect(t, "ssh", 0, false, "Paused: somebody logged in or unlocked 0 s ago; work waits 5 min from then")
}

// TestRules: each thing that keeps work from running does, at once, says so, and work goes on after the delay.
func TestRules(t *testing.T) {
	for name, test := range map[string]struct {
		see   func(o *signals.Observation)
		set   func(p *policy.Values)
		why   string
		after string // a second after it ended; empty: it runs
	}{
		"battery": {
			see:   func(o *signals.Observation) { o.Power = read(o.Others.At, signals.Power{Battery: true, Charge: 0.9}) },
			why:   "on battery",
			after: "waits 4 min more after: on battery",
		},
		"low battery": {
			see: func(o *signals.Observation) { o.Power = read(o.Others.At, signals.Power{Charge: 0.43}) },
			why: "the battery has 43 %, less than 50 %", after: "waits 4 min more after: the battery is low",
		},
		"presentation": {
			see: func(o *signals.Observation) { o.Presenting.Value = true },
			why: "a full-screen program runs", after: "waits 4 min more after: a full-screen program runs",
		},
		"exclusive": {
			see: func(o *signals.Observation) { o.Programs.Value = []string{"zoom"} },
			set: func(p *policy.Values) { p.Exclusive = []string{"obs", "zoom"} },
			why: "zoom runs", after: "waits 4 min more after: zoom runs",
		},
		"metered": {
			see: func(o *signals.Observation) { o.Metered.Value = true },
			why: "the network is metered", after: "waits 4 min more after: the network is metered",
		},
		"heat": {
			see: func(o *signals.Observation) { o.Temperature.Value = 95 },
			why: "the processor has 95 °C, the limit is 90 °C", after: "waits 4 min more after: too hot",
		},
		"heat that is no number": {
			see: func(o *signals.Observation) { o.Temperature.Value = math.NaN() },
			why: "the processor has NaN °C, the limit is 90 °C", after: "waits 4 min more after: too hot",
		},
		"stale": {
			see: func(o *signals.Observation) { o.Disk.At = o.Others.At.Add(-6 * time.Second) },
			why: "cannot see: disk", after: "waits 29 s more after: cannot see all signals",
		},
		"nothing seen": {
			see:   func(o *signals.Observation) { *o = signals.Observation{} },
			why:   "cannot see: who is logged in, what other programs use, memory, disk, power, temperature, full screen, network",
			after: "waits 29 s more after: cannot see all signals",
		},
		"nobody says when the last input was": {
			see: func(o *signals.Observation) { o.Sessions.Value[0].Reported = o.Others.At.Add(-6 * time.Second) },
			why: "keyboard or mouse used 0 s ago; work waits 5 min from then", after: "keyboard or mouse used 1 s ago; work waits 5 min from then",
		},
		"an input in the future": {
			see: func(o *signals.Observation) { o.Sessions.Value[0].Input = o.Others.At.Add(time.Hour) },
			why: "keyboard or mouse used 0 s ago; work waits 5 min from then", after: "keyboard or mouse used 1 s ago; work waits 5 min from then",
		},
	} {
		w := newWorld()
		if test.set != nil {
			test.set(w.in.Policy)
		}
		if w.pass(6*time.Minute).Cores != 8 {
			t.Fatalf("%s: does not run at first: %s", name, w.d.Why)
		}
		w.see = test.see
		w.look()
		w.expect(t, name, 0, false, "Paused: "+test.why)
		w.see = nil
		w.pass(time.Second)
		w.expect(t, name+", over", 0, false, "Paused: "+test.after)
		if w.pass(5*time.Minute).Cores != 8 {
			t.Errorf("%s: does not go on: %s", name, w.d.Why)
		}
	}
}

// TestMemoryGivesBackFirst: nothing is frozen into memory that others need.
func TestMemoryGivesBackFirst(t *testing.T) {
	for why, m := range map[string]signals.Memory{
		"Paused: 1024 MiB of memory are free, less than 1638 MiB": {Total: 16 << 30, Available: 1 << 30},
		"Paused: programs wait for memory":                        {Total: 16 << 30, Available: 8 << 30, Pressure: 0.2},
	} {
		w := newWorld()
		w.pass(6 * time.Minute)
		w.see = func(o *signals.Observation) { o.Memory.Value = m }
		w.look()
		w.expect(t, "memory", 0, true, why)
	}
}

func TestCoreByCore(t *testing.T) {
	w := newWorld()
	w.pass(6 * time.Minute)
	others := 4.0
	w.see = func(o *signals.Observation) { o.Others.Value = others }
	w.pass(time.Second)
	others = 0.1
	w.pass(time.Second)
	w.expect(t, "a burst", 8, false, "8 of 8 cores: nobody has used this PC for 6 min")
	others = 4.2
	w.pass(15 * time.Second)
	w.expect(t, "4.2 cores", 3, false, "3 of 8 cores: other programs use 4.2 cores")
	others = 2.5
	w.pass(29 * time.Second)
	w.expect(t, "less, not long enough", 3, false, "3 of 8 cores: other programs used more than 2.5 cores a moment ago")
	w.pass(3 * time.Second)
	w.expect(t, "less for long enough", 4, false, "4 of 8 cores: other programs used more than 2.5 cores a moment ago")
	w.pass(31 * time.Second)
	w.expect(t, "and longer", 5, false, "5 of 8 cores: other programs use 2.5 cores")
	others = 1.9
	w.pass(70 * time.Second)
	w.expect(t, "what the policy lets others have", 8, false, "8 of 8 cores: nobody has used this PC for 8 min")
	others = 5
	w.pass(10*time.Minute + 20*time.Second)
	w.expect(t, "frozen for 10 min, in part", 3, true, "3 of 8 cores: other programs use 5.0 cores")
	others = 6.5
	w.pass(15 * time.Second)
	w.expect(t, "less after that", 1, false, "1 of 8 cores: other programs use 6.5 cores")
	others = math.NaN()
	w.pass(15 * time.Second)
	w.expect(t, "no number", 0, false, "Paused: other programs use 8.0 cores")
	w.see = func(o *signals.Observation) { o.Disk.Value = 0.5 }
	if w.look().Disk != 1<<20 {
		t.Errorf("writes %d bytes a second while others wait for the disk", w.d.Disk)
	}
}

// TestGivenCores: others have what the agent was not given, before they take anything of it.
func TestGivenCores(t *testing.T) {
	w := newWorld()
	w.in.Most = 4
	w.pass(6 * time.Minute)
	others := 3.5
	w.see = func(o *signals.Observation) { o.Others.Value = others }
	w.pass(15 * time.Second)
	w.expect(t, "half of the cores are given", 4, false, "4 of 8 cores: nobody has used this PC for 6 min")
	others = 5.5
	w.pass(15 * time.Second)
	w.expect(t, "others use more than the rest", 2, false, "2 of 8 cores: other programs use 5.5 cores")
}

func TestInUseCores(t *testing.T) {
	w := newWorld()
	w.in.Policy.InUse.Cores, w.in.Policy.Away.Cores = policy.Amount{N: 25, Percent: true}, policy.Amount{N: 6}
	w.input = w.in.Now
	w.pass(time.Second)
	w.input = w.in.Now
	w.look()
	w.expect(t, "in use", 2, false, "2 of 8 cores: keyboard or mouse used 0 s ago")
	w.pass(5 * time.Minute)
	w.expect(t, "away", 6, false, "6 of 8 cores: nobody has used this PC for 5 min")
	w.input = w.in.Now
	w.look()
	w.expect(t, "in use again", 2, false, "2 of 8 cores: keyboard or mouse used 0 s ago")
}

func TestPause(t *testing.T) {
	w := newWorld()
	w.pass(6 * time.Minute)
	w.in.Command = Command{Paused: true, Until: morning.Add(6*time.Hour + 30*time.Minute)}
	w.look()
	w.expect(t, "paused", 0, false, "Paused by the owner until 14:30")
	w.pass(10 * time.Minute)
	w.expect(t, "paused for 10 min", 0, true, "Paused by the owner until 14:30")
	w.in.Command = Command{}
	w.look()
	w.expect(t, "resumed", 8, false, "8 of 8 cores: nobody has used this PC for 16 min")
	w.in.Command = Command{Paused: true, Until: morning.Add(26 * time.Hour), Drop: true}
	w.look()
	w.expect(t, "stop-jobs", 0, true, "Paused by the owner until Fri 27 Nov 10:00")
	w.in.Command = Command{Paused: true, Until: w.in.Now.Add(time.Minute)}
	if w.pass(59*time.Second).Cores != 0 || w.pass(time.Second).Cores != 8 {
		t.Errorf("a pause of a minute: %d cores, %s", w.d.Cores, w.d.Why)
	}
	w.in.Command = Command{Paused: true}
	w.look()
	w.expect(t, "without an end", 0, false, "Paused by the owner")
	if !w.d.Until.IsZero() {
		t.Errorf("ends %s", w.d.Until)
	}
}

func TestNoPolicyNoCores(t *testing.T) {
	w := newWorld()
	w.pass(6 * time.Minute)
	good := w.in.Policy
	w.in.Policy = nil
	w.look()
	w.expect(t, "no policy", 0, false, "Paused: the policy has errors")
	w.in.Policy = good
	if w.look().Cores != 8 {
		t.Error(w.d.Why)
	}
	w.in.Policy.Away.Cores = policy.Amount{}
	w.look()
	w.expect(t, "no cores", 0, false, "Paused: the policy allows no cores")
}

func TestNoOwner(t *testing.T) {
	in := Input{Now: morning, Cores: 2, Most: 4, NoOwner: true}
	d, s := Decide(in, State{})
	if d.Cores != 4 || d.GiveBack || d.Why != "4 cores: this machine has no owner" || d.Memory == 0 || d.Network == 0 {
		t.Errorf("%+v", d)
	}
	in.Command = Command{Paused: true}
	if d, s = Decide(in, s); d.Cores != 0 || d.GiveBack || d.Why != "Paused by the owner" {
		t.Errorf("%+v", d)
	}
	in.Now = in.Now.Add(10 * time.Minute)
	if d, _ = Decide(in, s); !d.GiveBack {
		t.Errorf("%+v", d)
	}
}

// drawSeen draws what may be seen of a PC.
func drawSeen(t *rapid.T, now time.Time) signals.Observation {
	at := func(name string) time.Time {
		return now.Add(-rapid.SampledFrom([]time.Duration{0, time.Second, 4 * time.Second}).Draw(t, name))
	}
	o := quiet(now, now)
	o.Sessions = read(at("seen"), rapid.SliceOfN(rapid.Custom(func(t *rapid.T) signals.Session {
		return signals.Session{
			ID:   rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "id"),
			Kind: rapid.SampledFrom([]signals.Kind{signals.Graphical, signals.Terminal, signals.Remote}).Draw(t, "kind"), Locked: rapid.Bool().Draw(t, "locked"),
			Input:    now.Add(-time.Duration(rapid.IntRange(0, 1200).Draw(t, "input")) * time.Second),
			Reported: at("reported"),
		}
	}), 0, 3).Draw(t, "sessions"))
	o.Others.Value = rapid.Float64Range(0, 8).Draw(t, "others")
	o.Memory.Value.Available = rapid.Int64Range(0, 16<<30).Draw(t, "available")
	o.Presenting.Value = rapid.IntRange(0, 9).Draw(t, "presenting") == 0
	o.Disk.Value = rapid.Float64Range(0, 1).Draw(t, "disk")
	return o
}

// drawState plays a while and returns where that led.
func drawState(t *rapid.T) (Input, State) {
	p := policy.Defaults()
	p.InUse.Cores.N = rapid.SampledFrom([]int{0, 0, 2, 12}).Draw(t, "in use")
	p.Away.Cores = policy.Amount{N: rapid.IntRange(0, 12).Draw(t, "away")}
	p.IdleLocked = time.Duration(rapid.IntRange(0, 600).Draw(t, "idle locked")) * time.Second
	p.Resume = time.Duration(rapid.IntRange(10, 600).Draw(t, "resume")) * time.Second
	in := Input{Now: morning, Policy: &p, Cores: 8, Most: 8}
	var s State
	for range rapid.IntRange(0, 20).Draw(t, "steps") {
		in.Seen = drawSeen(t, in.Now)
		_, s = Decide(in, s)
		in.Now = in.Now.Add(time.Duration(rapid.IntRange(0, 400).Draw(t, "passes")) * time.Second)
	}
	in.Seen = drawSeen(t, in.Now)
	return in, s
}

// TestUnknownNeverRuns: whichever reading is old or missing, nothing runs.
func TestUnknownNeverRuns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, s := drawState(t)
		in.Policy.Exclusive = []string{"zoom"}
		old := time.Time{}
		if rapid.Bool().Draw(t, "stale") {
			old = in.Now.Add(-signals.Stale - 1)
		}
		o := &in.Seen
		unknown := []func(){
			func() { o.Sessions.At = old },
			func() { o.Others.At = old },
			func() { o.Memory.At = old },
			func() { o.Disk.At = old },
			func() { o.Power = signals.Reading[signals.Power]{At: old} },
			func() { o.Temperature.At = old },
			func() { o.Presenting.At = old },
			func() { o.Programs.At = old },
			func() { o.Metered.At = old },
		}
		rapid.SampledFrom(unknown).Draw(t, "unknown")()
		if d, _ := Decide(in, s); d.Cores != 0 {
			t.Fatalf("%d cores: %s", d.Cores, d.Why)
		}
	})
}

// TestMoreActivityNeverMoreCores: of two worlds with one past, the one in which the owner does more has no more cores,
// nor more memory, nor faster disk and network.
func TestMoreActivityNeverMoreCores(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, s := drawState(t)
		more := in
		more.Seen.Sessions.Value = slices.Clone(in.Seen.Sessions.Value)
		sessions := more.Seen.Sessions.Value
		for i := range sessions {
			if rapid.Bool().Draw(t, "types") {
				sessions[i].Input = sessions[i].Input.Add(in.Now.Sub(sessions[i].Input) / 2)
			}
			if rapid.Bool().Draw(t, "unlocks") {
				sessions[i].Locked = false
			}
		}
		if rapid.Bool().Draw(t, "logs in") {
			sessions = append(sessions, signals.Session{ID: "new", Kind: signals.Remote, Input: in.Now, Reported: in.Now})
		}
		more.Seen.Sessions.Value = sessions
		more.Seen.Others.Value += rapid.Float64Range(0, 8).Draw(t, "runs")
		more.Seen.Presenting.Value = in.Seen.Presenting.Value || rapid.Bool().Draw(t, "presents")
		a, _ := Decide(in, s)
		b, _ := Decide(more, s)
		if b.Cores > a.Cores || b.Memory > a.Memory || b.Disk > a.Disk || b.Network > a.Network {
			t.Fatalf("%d cores: %s\nmore activity: %d cores: %s", a.Cores, a.Why, b.Cores, b.Why)
		}
	})
}

// TestPauseWins: whatever is so, nothing runs while the owner has paused.
func TestPauseWins(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in, s := drawState(t)
		in.NoOwner = rapid.Bool().Draw(t, "no owner")
		in.Command = Command{Paused: true}
		if rapid.Bool().Draw(t, "ends") {
			in.Command.Until = in.Now.Add(time.Nanosecond)
		}
		d, _ := Decide(in, s)
		if d.Cores != 0 || !strings.HasPrefix(d.Why, "Paused by the owner") {
			t.Fatalf("%d cores: %s", d.Cores, d.Why)
		}
	})
}

// TestNoFlapping: a signal that toggles each second stops work once and starts none while it does.
func TestNoFlapping(t *testing.T) {
	on := false
	toggles := map[string]func(*signals.Observation){
		"lock":        func(o *signals.Observation) { o.Sessions.Value[0].Locked = on },
		"login":       func(o *signals.Observation) { o.Sessions.Value = o.Sessions.Value[:map[bool]int{true: 1}[on]] },
		"others":      func(o *signals.Observation) { o.Others.Value = map[bool]float64{true: 7.9}[on] },
		"some others": func(o *signals.Observation) { o.Others.Value = map[bool]float64{true: 4}[on] },
		"memory":      func(o *signals.Observation) { o.Memory.Value.Available = map[bool]int64{true: 12 << 30}[on] },
		"power":       func(o *signals.Observation) { o.Power = read(o.Others.At, signals.Power{Battery: on, Charge: 1}) },
		"charge": func(o *signals.Observation) {
			o.Power = read(o.Others.At, signals.Power{Charge: map[bool]float64{true: 1}[on]})
		},
		"heat":         func(o *signals.Observation) { o.Temperature.Value = map[bool]float64{true: 99}[on] },
		"full screen":  func(o *signals.Observation) { o.Presenting.Value = on },
		"metered":      func(o *signals.Observation) { o.Metered.Value = on },
		"disk unknown": func(o *signals.Observation) { o.Disk.At = map[bool]time.Time{true: o.Disk.At}[on] },
		"all unknown": func(o *signals.Observation) {
			if on {
				*o = signals.Observation{}
			}
		},
	}
	for name, see := range toggles {
		w := newWorld()
		if w.pass(6*time.Minute).Cores != 8 {
			t.Fatal(w.d.Why)
		}
		w.see = see
		cores, rose := w.d.Cores, 0
		for range 1200 {
			on = !on
			if now := w.pass(time.Second).Cores; now > cores {
				rose++
				cores = now
			} else {
				cores = now
			}
		}
		if rose > 0 {
			t.Errorf("%s: more cores %d times while it toggled", name, rose)
		}
	}
}

// TestClockSetBack: nothing waits until the clock has caught up.
func TestClockSetBack(t *testing.T) {
	w := newWorld()
	w.see = func(o *signals.Observation) { o.Power = read(o.Others.At, signals.Power{Battery: true, Charge: 1}) }
	w.pass(6 * time.Minute)
	w.see = nil
	w.in.Now = w.in.Now.Add(-48 * time.Hour)
	w.input = w.in.Now
	if w.pass(6*time.Minute).Cores != 8 {
		t.Error(w.d.Why)
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second: "0 s", 40 * time.Second: "40 s", 61 * time.Second: "1 min", 119 * time.Minute: "119 min", 49 * time.Hour: "49 h",
	} {
		if got := span(d); got != want {
			t.Errorf("%s is %q, expected %q", fmt.Sprint(d), got, want)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	w := newWorld()
	w.pass(6 * time.Minute)
	for b.Loop() {
		w.look()
	}
}
