package signals

import (
	"errors"
	"log/slog"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	gridv1 "idlegrid/proto/grid/v1"
)

// noon is the now of these tests.
var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

var errTest = errors.New("out of order")

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func yes() *bool { v := true; return &v }
func no() *bool  { return new(bool) }

func TestJoin(t *testing.T) {
	desk := login{Session: Session{ID: "2", User: "1000", Kind: Graphical}, screen: true, only: true}
	second := desk
	second.only = false
	ssh := login{Session: Session{ID: "5", User: "1000", Kind: Remote}, terminal: "pts/0"}
	hint := desk
	hint.idle = noon.Add(-time.Hour)
	says := func(user, session string, idle time.Duration) report {
		return report{user: user, session: session, input: noon.Add(-idle), at: noon.Add(-time.Second)}
	}
	var never time.Time
	for name, c := range map[string]struct {
		login   login
		reports []report
		typed   time.Time
		input   time.Time
		locked  bool
	}{
		"nobody speaks for it":                           {login: desk, input: never},
		"its own helper":                                 {login: desk, reports: []report{says("1000", "2", time.Minute)}, input: noon.Add(-time.Minute)},
		"its user's helper of no session":                {login: desk, reports: []report{says("1000", "", time.Minute)}, input: noon.Add(-time.Minute)},
		"a helper of no session, of one of two desktops": {login: second, reports: []report{says("1000", "", time.Hour)}, input: never},
		"its own helper, of one of two desktops":         {login: second, reports: []report{says("1000", "2", time.Hour)}, input: noon.Add(-time.Hour)},
		"a helper of no user, as on Windows":             {login: desk, reports: []report{says("", "2", time.Minute)}, input: noon.Add(-time.Minute)},
		"the later input of two helpers":                 {login: desk, reports: []report{says("1000", "2", time.Hour), says("1000", "", time.Minute)}, input: noon.Add(-time.Minute)},
		"another user's helper":                          {login: desk, reports: []report{says("1001", "2", time.Hour)}, input: never},
		"another user's helper of no session":            {login: desk, reports: []report{says("1001", "", time.Hour)}, input: never},
		"a helper of another session":                    {login: desk, reports: []report{says("1000", "3", time.Hour)}, input: never},
		"a helper of nobody":                             {login: desk, reports: []report{says("", "", time.Hour)}, input: never},
		"a helper that does not know":                    {login: desk, reports: []report{{user: "1000", at: noon}}, input: never},
		"a helper that says it is locked":                {login: desk, reports: []report{{user: "1000", at: noon, locked: yes()}}, input: never, locked: true},
		"logind's idle hint":                             {login: hint, input: noon.Add(-time.Hour)},
		"a helper knows better than the hint":            {login: hint, reports: []report{says("1000", "2", 2*time.Hour)}, input: noon.Add(-2 * time.Hour)},
		"a terminal":                                     {login: ssh, typed: noon.Add(-time.Minute), input: noon.Add(-time.Minute)},
		"a terminal and a helper of a desktop":           {login: ssh, reports: []report{says("1000", "", time.Second)}, typed: noon.Add(-time.Minute), input: noon.Add(-time.Minute)},
		"a terminal without a device":                    {login: ssh, input: never},
	} {
		s := join(c.login, c.reports, c.typed, noon)
		if !s.Input.Equal(c.input) || s.Locked != c.locked || s.Input.IsZero() != s.Reported.IsZero() {
			t.Errorf("%s: %+v, expected input %s, locked %t", name, s, c.input, c.locked)
		}
	}
}

// TestOneMoreReportOfInput: more activity never makes a session look more idle.
func TestOneMoreReportOfInput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"", "1", "2"})
		one := func(t *rapid.T) report {
			r := report{user: word.Draw(t, "user"), session: word.Draw(t, "session"), at: noon}
			if rapid.Bool().Draw(t, "knows") {
				r.input = noon.Add(-time.Duration(rapid.IntRange(0, 1000).Draw(t, "idle")) * time.Second)
			}
			return r
		}
		reports := rapid.SliceOfN(rapid.Custom(one), 0, 4).Draw(t, "reports")
		l := login{Session: Session{ID: word.Draw(t, "ID"), User: word.Draw(t, "of"), Kind: Graphical}, screen: true, only: rapid.Bool().Draw(t, "only")}
		before := join(l, reports, time.Time{}, noon)
		more := one(t)
		after := join(l, append(reports, more), time.Time{}, noon)
		if after.Input.Before(before.Input) {
			t.Fatalf("%+v made of %+v %+v", more, before, after)
		}
		if !before.Reported.IsZero() || after.Reported.IsZero() {
			return
		}
		if !speaksFor(more, l) {
			t.Fatalf("%+v speaks for %+v", more, l)
		}
	})
}

func TestMarkOnly(t *testing.T) {
	l := func(user string, screen bool) login { return login{Session: Session{User: user}, screen: screen} }
	logins := []login{l("1", true), l("2", true), l("2", true), l("3", false), l("1", false)}
	markOnly(logins)
	for i, want := range []bool{true, false, false, false, false} {
		if logins[i].only != want {
			t.Errorf("login %d: %t", i, logins[i].only)
		}
	}
}

func TestReportsAreNewsOnce(t *testing.T) {
	r := newReports(func() {})
	mine := &report{user: "1000"}
	if err := r.add(mine); err != nil {
		t.Fatal(err)
	}
	ms := func(idle time.Duration) *uint64 { v := uint64(idle.Milliseconds()); return &v }
	for i, step := range []struct {
		after time.Duration // since noon
		m     *gridv1.SessionReport
		news  bool
	}{
		{0, &gridv1.SessionReport{IdleMs: ms(time.Hour)}, true}, // the first word
		{time.Second, &gridv1.SessionReport{IdleMs: ms(time.Hour + time.Second)}, false},
		{2 * time.Second, &gridv1.SessionReport{IdleMs: ms(time.Hour + 2*time.Second)}, false},
		{3 * time.Second, &gridv1.SessionReport{IdleMs: ms(0)}, true},
		{3100 * time.Millisecond, &gridv1.SessionReport{IdleMs: ms(0)}, false}, // he goes on typing
		{4 * time.Second, &gridv1.SessionReport{IdleMs: ms(0)}, true},
		{5 * time.Second, &gridv1.SessionReport{IdleMs: ms(time.Second), Locked: yes()}, true},
		{6 * time.Second, &gridv1.SessionReport{IdleMs: ms(2 * time.Second), Locked: yes(), Presenting: no()}, true},
		{7 * time.Second, &gridv1.SessionReport{IdleMs: ms(3 * time.Second), Locked: yes(), Presenting: yes()}, true},
		{8 * time.Second, &gridv1.SessionReport{Locked: yes(), Presenting: yes()}, true}, // it lost sight of the input
		{9 * time.Second, &gridv1.SessionReport{Locked: yes(), Presenting: yes()}, false},
	} {
		if got := r.take(mine, step.m, noon.Add(step.after)); got != step.news {
			t.Errorf("step %d: news %t", i, got)
		}
	}
	if got := r.fresh(noon.Add(9*time.Second + Stale)); len(got) != 1 {
		t.Errorf("%d reports that are just not stale", len(got))
	}
	if got := r.fresh(noon.Add(9*time.Second + Stale + 1)); len(got) != 0 {
		t.Errorf("%d stale reports", len(got))
	}
}

func TestHelpersOfOneUserAreBounded(t *testing.T) {
	r := newReports(func() {})
	for range maxHelpers {
		if err := r.add(&report{user: "1000"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.add(&report{user: "1000"}); err == nil {
		t.Error("one more helper was let in")
	}
	mine := &report{user: "1001"}
	if err := r.add(mine); err != nil {
		t.Errorf("another user's helper: %v", err)
	}
	r.drop(mine)
	if len(r.held) != maxHelpers {
		t.Errorf("%d are held", len(r.held))
	}
}

func TestPresenting(t *testing.T) {
	for name, c := range map[string]struct {
		reports []report
		want    Reading[bool]
	}{
		"no helper":           {nil, Reading[bool]{None: true}},
		"one that cannot see": {[]report{{}}, Reading[bool]{None: true}},
		"one says no":         {[]report{{presenting: no()}, {}}, Reading[bool]{At: noon}},
		"one of two says yes": {[]report{{presenting: yes()}, {presenting: no()}}, Reading[bool]{Value: true, At: noon}},
	} {
		if got := presenting(c.reports, noon); got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// FuzzReport: no report brings an input that has not been, or one before any computer was.
func FuzzReport(f *testing.F) {
	f.Add(uint64(0), true, true, false)
	f.Add(uint64(math.MaxUint64), true, false, true)
	f.Fuzz(func(t *testing.T, idle uint64, says, locked, presents bool) {
		r := newReports(func() {})
		mine := &report{user: "1000"}
		if err := r.add(mine); err != nil {
			t.Fatal(err)
		}
		m := &gridv1.SessionReport{Locked: &locked, Presenting: &presents}
		if says {
			m.IdleMs = &idle
		}
		if !r.take(mine, m, noon) {
			t.Error("the first word is no news")
		}
		s := join(login{Session: Session{User: "1000"}, screen: true, only: true}, r.fresh(noon), time.Time{}, noon)
		if s.Input.After(noon) || says && noon.Sub(s.Input) > longest || says == s.Input.IsZero() || s.Locked != locked {
			t.Errorf("%+v of %+v", s, m)
		}
	})
}

func TestGaugeReadsWhatIsDue(t *testing.T) {
	reads := 0
	fails := error(nil)
	g := &gauge[int]{every: time.Second, read: func(now time.Time) (Reading[int], error) {
		reads++
		return Reading[int]{Value: reads, At: now}, fails
	}}
	for i, step := range []struct {
		at    time.Duration
		err   error
		reads int
		known bool
	}{
		{0, nil, 1, true},
		{500 * time.Millisecond, nil, 1, true},
		{time.Second, nil, 2, true},
		{2 * time.Second, errTest, 3, true}, // what was read before is still fresh
		{5 * time.Second, errTest, 4, true},
		{7 * time.Second, errTest, 5, false},
		{8 * time.Second, nil, 6, true},
		{-time.Hour, nil, 7, true}, // the clock was set back
	} {
		fails = step.err
		now := noon.Add(step.at)
		r := g.at(now, quiet())
		if reads != step.reads || r.Known(now) != step.known {
			t.Errorf("step %d: %d reads, known %t", i, reads, r.Known(now))
		}
	}
}

func TestOthersUse(t *testing.T) {
	const second = time.Second
	for _, c := range []struct {
		busy, own, span time.Duration
		want            float64
	}{
		{2 * second, second, second, 1},
		{second, 2 * second, second, 0}, // our own clock ran ahead
		{second, -second, second, 1},    // a unit's process has ended
		{100 * second, 0, second, 4},    // no more than there are
		{second, 0, 0, 0},
		{second, 0, -second, 0},
	} {
		if got := othersUse(c.busy, c.own, c.span, 4); got != c.want {
			t.Errorf("busy %s, own %s in %s: %g, expected %g", c.busy, c.own, c.span, got, c.want)
		}
	}
}

func TestMatching(t *testing.T) {
	running := map[string]bool{"zoom": true, "bash": true}
	got := matching([]string{"Zoom.exe", "teams", "bash", ""}, running)
	if len(got) != 2 || got[0] != "Zoom.exe" || got[1] != "bash" {
		t.Errorf("%q", got)
	}
}
