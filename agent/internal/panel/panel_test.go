package panel

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/owner"
	gridv1 "idlegrid/proto/grid/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) {
	time.Local = time.UTC // golden files have times of day
	m.Run()
}

// fakeOwner says what the test wants and notes what it is told.
type fakeOwner struct {
	look    *gridv1.LookReply
	samples []harvest.Sample
	history *gridv1.HistoryReply
	policy  *gridv1.PolicyReply
	fails   error

	told []string
}

func (f *fakeOwner) Look(context.Context) *gridv1.LookReply { return f.look }
func (f *fakeOwner) Why() *gridv1.WhyReply                  { return &gridv1.WhyReply{Decisions: decisions()} }
func (f *fakeOwner) Samples() ([]harvest.Sample, int)       { return f.samples, 8 }
func (f *fakeOwner) Policy() *gridv1.PolicyReply            { return f.policy }
func (f *fakeOwner) Looked(who, _ string)                   { f.told = append(f.told, "looked: "+who) }
func (f *fakeOwner) Resume() (bool, error)                  { return true, f.tell("resume") }
func (f *fakeOwner) Pause(until time.Time) error            { return f.tell("pause " + words(until)) }

func (f *fakeOwner) StopJobs(until time.Time) error                 { return f.tell("stop " + words(until)) }
func (f *fakeOwner) History(_, _ int) (*gridv1.HistoryReply, error) { return f.history, nil }

func (f *fakeOwner) tell(what string) error {
	f.told = append(f.told, what)
	return f.fails
}

func words(until time.Time) string {
	if until.IsZero() {
		return "until resumed"
	}
	return until.Format("until 2 Jan 15:04")
}

func decisions() []*gridv1.OwnerDecision {
	return []*gridv1.OwnerDecision{
		{FromMs: time.Now().Add(-time.Hour).UnixMilli(), Mode: "freeze", Why: "in use"},
		{FromMs: time.Now().Add(-time.Minute).UnixMilli(), Mode: "run", Cores: 7, Why: "nobody uses this PC"},
	}
}

// working is a PC at work. The picture in the docs is of it.
func working(now time.Time) *fakeOwner {
	done := 0.42
	f := &fakeOwner{
		look: &gridv1.LookReply{
			Grid: "grid.example.org:7745 (root 0123abcd)", Class: "office", State: "working", Why: "7 of 8 cores: nobody has used this PC for 12 min", SinceMs: now.Add(-7 * time.Minute).UnixMilli(),
			Cores: 7, OfCores: 8, TodayMs: 162_000_000, MonthMs: 3_240_000_000, Yields: "cgroup2 freeze, cpu.idle",
			Running: []*gridv1.RunningUnit{
				{Job: make([]byte, 32), Name: "tour", Unit: 7, Submitter: make([]byte, 32), Owner: "anna", SinceMs: now.Add(-5 * time.Minute).UnixMilli(), Done: &done},
				{Job: make([]byte, 32), Name: "mandelbrot", Unit: 1234567, Submitter: make([]byte, 32), Owner: "geography", SinceMs: now.Add(-40 * time.Second).UnixMilli(), Frozen: true},
			},
			Rules: []*gridv1.OwnerRule{{Name: "no pause", Holds: true, Text: "the owner has not paused"}, {Name: "away", Holds: true, Text: "nobody has used this PC for 12 min"}},
			Sum: &gridv1.OwnerTimes{Count: 321, P50Us: 5000, P99Us: 12_000, MaxUs: 31_000, Buckets: []*gridv1.OwnerBucket{
				{MostUs: 5000, Count: 200}, {MostUs: 50_000, Count: 121}, {},
			}},
			Disturbances: []*gridv1.OwnerDisturbance{{Kind: "late"}, {Kind: "swapped", Unknown: true}, {Kind: "stalled", Count: 2}},
		},
		history: &gridv1.HistoryReply{
			Total: 41, Jobs: []*gridv1.OwnerJob{{
				Job: make([]byte, 32), Name: "tour", Submitter: make([]byte, 32), Owner: "anna", Program: make([]byte, 32), LastMs: now.UnixMilli(),
				Units: 300, Failed: 1, CpuUs: 7_200_000_000, MemoryBytes: 64 << 20, InBytes: 3 << 20, OutBytes: 1 << 19,
			}},
			Visitors: []*gridv1.OwnerVisitor{{Who: "anna", LastMs: now.UnixMilli(), Calls: 7}},
		},
		policy: &gridv1.PolicyReply{Settings: []*gridv1.OwnerSetting{
			{Key: "idle", Value: "5m", Layer: "built in"},
			{Key: "away.cores", Value: "all", Layer: "machine", File: "/etc/idlegrid/policy.yaml", Line: 3, Locked: true},
		}},
	}
	for at := now.Add(-24 * time.Hour).Truncate(10 * time.Minute); at.Before(now); at = at.Add(10 * time.Minute) {
		if h := at.Hour(); h >= 8 || h < 3 { // the PC is off from three to eight
			f.samples = append(f.samples, sampleOf(at))
		}
	}
	return f
}

// sampleOf is what a PC with eight cores does at a time of day: somebody uses it in the morning and the afternoon.
func sampleOf(at time.Time) harvest.Sample {
	h, some := at.Hour(), float64(at.Minute()/10*7%6)
	if h >= 8 && h < 12 || h >= 13 && h < 17 {
		return harvest.Sample{From: at, Others: 0.6 + some/3}
	}
	return harvest.Sample{From: at, Others: 0.2 + some/20, Ours: 7.4 - some/10}
}

func paused(now time.Time) *fakeOwner {
	f := working(now)
	f.look.State, f.look.Why, f.look.Cores, f.look.Running = "paused", "Paused by the owner until 22:42", 0, nil
	f.look.Metrics = "10.0.0.7:9746"
	f.look.Pause, f.look.UntilMs = &gridv1.OwnerPause{UntilMs: now.Add(3 * time.Hour).UnixMilli()}, now.Add(3*time.Hour).UnixMilli()
	return f
}

// waiting is a PC in use on which nothing ever happened, and whose policy is bad.
func waiting(time.Time) *fakeOwner {
	return &fakeOwner{
		look: &gridv1.LookReply{
			Grid: "root 0123abcd", Class: "laptop", State: "waiting", Why: "Paused: keyboard or mouse used 40 s ago; work waits 5 min from then", OfCores: 8,
			Idle: []string{"job <b>zoom</b> is refused here: by its name"},
		},
		history: &gridv1.HistoryReply{}, policy: &gridv1.PolicyReply{Wrong: "owner.yaml:3:7: idle: is the text \"never\"", Warnings: []string{"a warning"}},
	}
}

func newPanel(t *testing.T, o Owner) *Panel {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	p, err := New(Options{Owner: o, State: dir, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// ask sends one request; a form is posted.
func ask(p *Panel, path string, form url.Values, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if form != nil {
		r = httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	r.Host = p.host
	r.AddCookie(&http.Cookie{Name: p.cookie, Value: p.session})
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	p.handler().ServeHTTP(w, r)
	return w
}

func noCookie(r *http.Request) { r.Header.Del("Cookie") }

func TestGolden(t *testing.T) {
	for name, pc := range map[string]func(time.Time) *fakeOwner{"working": working, "paused": paused, "waiting": waiting} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(time.Date(2026, 11, 26, 19, 42, 0, 0, time.Local)))
				p := newPanel(t, pc(time.Now()))
				if name == "paused" { // once somebody has read what this is
					if w := ask(p, "/seen", url.Values{"form": {p.form}}, nil); w.Code != http.StatusSeeOther {
						t.Fatalf("seen: %d", w.Code)
					}
				}
				w := ask(p, "/", nil, nil)
				got := strings.ReplaceAll(w.Body.String(), p.form, "FORM")
				file := filepath.Join("testdata", name+".html")
				if *update {
					if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				if w.Code != http.StatusOK || got != string(want) {
					t.Errorf("%d; %s is another page than %s", w.Code, got, file)
				}
			})
		})
	}
}

func TestEntering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := working(time.Now())
		p := newPanel(t, f)
		if w := ask(p, "/", nil, noCookie); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "tour") {
			t.Errorf("without anything: %d", w.Code)
		}
		if w := ask(p, "/?ticket=guess", nil, noCookie); w.Code != http.StatusForbidden {
			t.Errorf("with a guess: %d", w.Code)
		}
		if w := ask(p, "/", nil, func(r *http.Request) { noCookie(r); r.AddCookie(&http.Cookie{Name: p.cookie, Value: "guess"}) }); w.Code != http.StatusForbidden {
			t.Errorf("with a guessed cookie: %d", w.Code)
		}
		path := strings.TrimPrefix(p.URL(), "http://"+p.host)
		w := ask(p, path, nil, noCookie)
		cookies := w.Result().Cookies()
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/" || len(cookies) != 1 ||
			!cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || cookies[0].Value != p.session {
			t.Fatalf("with a ticket: %d, %v", w.Code, w.Header())
		}
		if !slices.Equal(f.told, []string{"looked: the page on this PC"}) {
			t.Errorf("told %q", f.told)
		}
		time.Sleep(ticketLife + time.Second)
		if w := ask(p, path, nil, noCookie); w.Code != http.StatusForbidden {
			t.Errorf("with an old ticket: %d", w.Code)
		}
		for range 3 * maxTickets {
			p.URL()
		}
		if len(p.tickets) > maxTickets {
			t.Errorf("%d tickets", len(p.tickets))
		}
	})
}

// TestOtherNames: a site that points its name at this PC sees nothing.
func TestOtherNames(t *testing.T) {
	p := newPanel(t, working(time.Now()))
	for _, host := range []string{"evil.example", "evil.example:80", "localhost", "127.0.0.1", "127.0.0.1:1", ""} {
		if w := ask(p, "/", nil, func(r *http.Request) { r.Host = host }); w.Code != http.StatusMisdirectedRequest || strings.Contains(w.Body.String(), "tour") {
			t.Errorf("host %q: %d", host, w.Code)
		}
	}
	h := ask(p, "/", nil, nil).Header()
	if csp := h.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'; ") || h.Get("Cache-Control") != "no-store" {
		t.Errorf("headers %v", h)
	}
	if w := ask(p, "/style.css", nil, noCookie); w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/css") {
		t.Errorf("style sheet: %d, %v", w.Code, w.Header())
	}
}

func TestButtons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // which begins at midnight
		for _, c := range []struct{ path, until, told string }{
			{"/pause", "hour", "pause until 1 Jan 01:00"},
			{"/pause", "tomorrow", "pause " + words(owner.Tomorrow(time.Now()))},
			{"/pause", "resume", "pause until resumed"},
			{"/resume", "", "resume"},
			{"/stop", "", "stop until resumed"},
		} {
			f := working(time.Now())
			p := newPanel(t, f)
			form := url.Values{"form": {p.form}, "until": {c.until}}
			for what, w := range map[string]*httptest.ResponseRecorder{
				"no cookie":     ask(p, c.path, form, noCookie),
				"no word":       ask(p, c.path, url.Values{"until": {c.until}}, nil),
				"another word":  ask(p, c.path, url.Values{"form": {"guess"}, "until": {c.until}}, nil),
				"another host":  ask(p, c.path, form, func(r *http.Request) { r.Host = "evil.example" }),
				"by GET":        ask(p, c.path+"?"+form.Encode(), nil, nil),
				"word in query": ask(p, c.path+"?"+form.Encode(), url.Values{}, nil),
				"too much":      ask(p, c.path, url.Values{"form": {p.form}, "x": {strings.Repeat("x", maxForm)}}, nil),
			} {
				if w.Code < 400 || len(f.told) > 0 {
					t.Errorf("%s, %s: %d, told %q", c.path, what, w.Code, f.told)
				}
			}
			if w := ask(p, c.path, form, nil); w.Code != http.StatusSeeOther || !slices.Equal(f.told, []string{c.told}) {
				t.Errorf("%s: %d, told %q, expected %q", c.path, w.Code, f.told, c.told)
			}
			f.fails = errors.New("the disk <is> full")
			if w := ask(p, c.path, form, nil); w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), `role="alert">That did not work: the disk &lt;is&gt; full`) {
				t.Errorf("%s that fails: %d", c.path, w.Code)
			}
		}
	})
}

func TestPauseForAnotherWord(t *testing.T) {
	f := working(time.Now())
	p := newPanel(t, f)
	if w := ask(p, "/pause", url.Values{"form": {p.form}, "until": {"never"}}, nil); w.Code != http.StatusInternalServerError || len(f.told) > 0 {
		t.Errorf("%d, told %q", w.Code, f.told)
	}
}

// TestRun: over a real connection, by the address that the agent gives.
func TestRun(t *testing.T) {
	p := newPanel(t, working(time.Now()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r, err := client.Get(p.URL())
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusSeeOther {
		t.Errorf("status %s", r.Status)
	}
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
