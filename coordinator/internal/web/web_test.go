package web

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/rpc"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	m.Run()
}

var (
	alice, bob = jobs.KeyID{0xa1}, jobs.KeyID{0xb0}
	olga       = jobs.KeyID{0x01}
)

// hostile is a name that a submitter may think of.
const hostile = `<script>alert(1)</script>"'&`

func caller(role peer.Role, id jobs.KeyID, owner string) identity.Caller {
	return identity.Caller{Role: role, ID: id, Owner: owner, NotAfter: time.Now().Add(14 * 24 * time.Hour)}
}

func submitter() identity.Caller { return caller(peer.Submitter, alice, "alice") }
func operator() identity.Caller  { return caller(peer.Operator, olga, "olga") }

func job(n byte, by jobs.KeyID, name, state string) Job {
	now := time.Now()
	j := Job{ID: jobs.JobID{n, n, n}, Name: name, Submitter: by, Owner: "o-" + name, State: state, Units: 1000, Created: now.Add(-time.Hour), Expires: now.Add(time.Hour)}
	switch state {
	case Running:
		j.Open, j.Accepted, j.Failed, j.Rate, j.Agents, j.Lent = 600, 390, 10, 2, 3, 16
	case Done:
		j.Accepted = 1000
	}
	return j
}

// fakeGrid is what a test lets the page show.
type fakeGrid struct {
	jobs    []Job
	details *Details
	members []peer.Member
	machine Machine
	fails   error

	spenders []jobs.KeyID // see harvest
	asked    int          // how often for that

	looked []string // who at which machine
}

func (f *fakeGrid) grid() Grid {
	return Grid{
		ID: "0123456789ab", Jobs: func() []Job { return append([]Job{}, f.jobs...) },
		Job: func(id jobs.JobID) (Job, error) {
			for _, j := range f.jobs {
				if j.ID == id {
					return j, nil
				}
			}
			return Job{}, jobs.Errorf(jobs.NotFound, "no job")
		},
		Details: func(context.Context, jobs.JobID) (*Details, error) { return f.details, f.fails },
		Members: func() []peer.Member { return f.members }, Inspect: f.inspect, Harvest: f.harvest,
	}
}

func some() *fakeGrid {
	f := &fakeGrid{jobs: []Job{job(1, alice, "finished", Done), job(2, alice, hostile, Running), job(3, bob, "bobs", Unknown)}}
	f.details = &Details{
		Job: f.jobs[1], Manifest: &manifest.Manifest{Units: 1000, Bundle: 1, Args: []string{hostile}}, Shards: []Shard{{Stewards: 3, Open: 600}},
		Failures: []Failure{{Unit: 7, Kind: "exit", Text: hostile, Attempts: 3, Stderr: hostile}, {Unit: 8, Kind: "trap", Missing: "its pack " + hostile}, {Unit: 9, Conflict: true}},
		Problems: []string{hostile},
	}
	return f
}

// newPage makes a page on loopback that listens, and serves only what a test asks it for.
func newPage(t testing.TB, f *fakeGrid, change func(*Options)) *Page {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Settings: Settings{Address: "127.0.0.1:0"}, State: dir, Own: netip.MustParseAddr("10.1.2.3"), Grid: f.grid(), Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&o)
	}
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), p.Close(), dir.Close()); err != nil {
			t.Error(err)
		}
	})
	return p
}

// link asks for a link as somebody.
func link(p *Page, who identity.Caller, job ...byte) (*gridv1.OpenReply, error) {
	return (&Service{Page: p}).Open(rpc.WithCaller(context.Background(), who), &gridv1.OpenRequest{Job: job})
}

// browser is somebody's.
type browser struct {
	t      testing.TB
	page   *Page
	cookie *http.Cookie
}

// logIn opens a link.
func logIn(t testing.TB, p *Page, who identity.Caller) *browser {
	t.Helper()
	reply, err := link(p, who)
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, page: p}
	w := b.get(strings.TrimPrefix(reply.GetUrl(), p.URL()))
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/jobs" || len(w.Result().Cookies()) != 1 {
		t.Fatalf("opened a link: %d, %v", w.Code, w.Header())
	}
	b.cookie = w.Result().Cookies()[0]
	return b
}

func (b *browser) do(r *http.Request) *httptest.ResponseRecorder {
	b.t.Helper()
	if r.Host == "example.com" { // httptest's own
		r.Host = strings.TrimPrefix(strings.TrimPrefix(b.page.URL(), "https://"), "http://")
	}
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	w := httptest.NewRecorder()
	b.page.handler().ServeHTTP(w, r)
	return w
}

func (b *browser) get(path string) *httptest.ResponseRecorder {
	b.t.Helper()
	return b.do(httptest.NewRequest(http.MethodGet, path, nil))
}

func (b *browser) post(path string, form url.Values) *httptest.ResponseRecorder {
	b.t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.do(r)
}

// sees gets a page that has to be there, with all of some texts and none of others.
func (b *browser) sees(path string, texts []string, not ...string) string {
	b.t.Helper()
	w := b.get(path)
	if w.Code != http.StatusOK {
		b.t.Errorf("%s: %d: %s", path, w.Code, w.Body)
	}
	check(b.t, path, w.Body.String(), texts, not...)
	return w.Body.String()
}

func check(t testing.TB, what, got string, texts []string, not ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(got, text) {
			t.Errorf("%s lacks %q:\n%s", what, text, got)
		}
	}
	for _, text := range not {
		if strings.Contains(got, text) {
			t.Errorf("%s has %q:\n%s", what, text, got)
		}
	}
}

// form is the word in the forms of a page.
func (b *browser) form() string {
	b.t.Helper()
	_, after, _ := strings.Cut(b.get("/jobs").Body.String(), `name="form" value="`)
	word, _, _ := strings.Cut(after, `"`)
	if word == "" {
		b.t.Fatal("the page has no form")
	}
	return word
}

func TestLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t, some(), nil)
		stranger := &browser{t: t, page: p}
		for _, path := range []string{"/", "/jobs", "/jobs/010101", "/events?of=/jobs", "/enter", "/enter?ticket=guess", "/nowhere"} {
			if w := stranger.get(path); w.Code != http.StatusForbidden || strings.Contains(w.Body.String(), "finished") {
				t.Errorf("%s without a link: %d", path, w.Code)
			}
		}
		b := logIn(t, p, submitter())
		if c := b.cookie; !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Secure {
			t.Errorf("cookie %v", c)
		}
		b.sees("/jobs", []string{"finished", "submitter alice"})
		guess := &browser{t: t, page: p, cookie: &http.Cookie{Name: b.cookie.Name, Value: "guess"}}
		if w := guess.get("/jobs"); w.Code != http.StatusForbidden {
			t.Errorf("with a guessed cookie: %d", w.Code)
		}

		reply, err := link(p, submitter())
		if err != nil {
			t.Fatal(err)
		}
		path := strings.TrimPrefix(reply.GetUrl(), p.URL())
		if w := stranger.get(path); w.Code != http.StatusSeeOther {
			t.Errorf("a link: %d", w.Code)
		}
		if w := stranger.get(path); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "used already") {
			t.Errorf("the link again: %d: %s", w.Code, w.Body)
		}

		reply, err = link(p, submitter())
		if err != nil {
			t.Fatal(err)
		}
		if ends := time.UnixMilli(reply.GetEndsMs()); time.Until(ends) != ticketLife {
			t.Errorf("a link ends at %v", ends)
		}
		time.Sleep(ticketLife + time.Second)
		if w := stranger.get(strings.TrimPrefix(reply.GetUrl(), p.URL())); w.Code != http.StatusForbidden {
			t.Errorf("an old link: %d", w.Code)
		}
		b.sees("/jobs", []string{"finished"})
		time.Sleep(sessionLife)
		if w := b.get("/jobs"); w.Code != http.StatusForbidden {
			t.Errorf("an old session: %d", w.Code)
		}
	})
}

// TestSessionEndsWithTheCertificate: nobody is longer in than the grid knows them.
func TestSessionEndsWithTheCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t, some(), nil)
		who := submitter()
		who.NotAfter = time.Now().Add(time.Hour)
		b := logIn(t, p, who)
		time.Sleep(time.Hour + time.Second)
		if w := b.get("/jobs"); w.Code != http.StatusForbidden {
			t.Errorf("after the certificate: %d", w.Code)
		}
	})
}

func TestLogOut(t *testing.T) {
	p := newPage(t, some(), nil)
	b := logIn(t, p, submitter())
	for what, w := range map[string]*httptest.ResponseRecorder{
		"no word": b.post("/leave", url.Values{}), "another word": b.post("/leave", url.Values{"form": {"guess"}}),
		"by GET": b.get("/leave?form=" + b.form()), "too much": b.post("/leave", url.Values{"form": {b.form()}, "x": {strings.Repeat("x", maxForm)}}),
	} {
		if w.Code < 400 {
			t.Errorf("%s: %d", what, w.Code)
		}
	}
	if w := b.post("/leave", url.Values{"form": {b.form()}}); w.Code != http.StatusOK || w.Result().Cookies()[0].Expires.After(time.Now()) {
		t.Errorf("left: %d, %v", w.Code, w.Header())
	}
	if w := b.get("/jobs"); w.Code != http.StatusForbidden {
		t.Errorf("after leaving: %d", w.Code)
	}
}

// TestLoginsAreBounded: one person takes no room of others, and all together no more than there is.
func TestLoginsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t, some(), nil)
		first := logIn(t, p, operator())
		for range 3 * maxEach {
			logIn(t, p, submitter())
			if _, err := link(p, submitter()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if len(p.logins.sessions) != 1+maxEach || len(p.logins.tickets) != maxEach {
			t.Errorf("%d sessions and %d links", len(p.logins.sessions), len(p.logins.tickets))
		}
		first.sees("/jobs", []string{"finished"})
		var err error
		for n := range maxTickets {
			_, err = link(p, caller(peer.Submitter, jobs.KeyID{1, byte(n), byte(n >> 8)}, ""))
		}
		if jobs.KindOf(err) != jobs.Exhausted || len(p.logins.tickets) > maxTickets {
			t.Errorf("%d links, %v", len(p.logins.tickets), err)
		}
		time.Sleep(ticketLife + time.Second)
		if _, err := link(p, submitter()); err != nil {
			t.Errorf("old links take room: %v", err)
		}
	})
}

// P10: who may ask for a link, and to which job.
func TestP10Open(t *testing.T) {
	p := newPage(t, some(), nil)
	id := func(n byte) []byte { j := jobs.JobID{n, n, n}; return j[:] }
	for _, c := range []struct {
		name string
		who  identity.Caller
		job  []byte
		want jobs.ErrorKind
		ok   bool
	}{
		{"a submitter", submitter(), nil, 0, true},
		{"their own job", submitter(), id(1), 0, true},
		{"another's job", submitter(), id(3), jobs.NotFound, false},
		{"no job", submitter(), id(9), jobs.NotFound, false},
		{"half an ID", submitter(), []byte{1, 2}, jobs.Invalid, false},
		{"an operator, any job", operator(), id(3), 0, true},
		{"an agent", caller(peer.Agent, alice, ""), nil, jobs.Denied, false},
		{"nobody", identity.Caller{}, nil, jobs.Denied, false},
	} {
		if _, err := link(p, c.who, c.job...); (err == nil) != c.ok || err != nil && jobs.KindOf(err) != c.want {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if _, err := link(nil, operator()); jobs.KindOf(err) != jobs.Unsupported || !strings.Contains(jobs.HintOf(err), "--page") {
		t.Errorf("without a page: %v, %q", err, jobs.HintOf(err))
	}
}

// TestOtherNames: a site that points its name at the coordinator sees nothing.
func TestOtherNames(t *testing.T) {
	p := newPage(t, some(), nil)
	b := logIn(t, p, submitter())
	for host, ok := range map[string]bool{
		"localhost:1234": true, "127.0.0.1:80": true, "[::1]:80": true, "evil.example": false, "evil.example:80": false,
		"127.0.0.1.evil.example": false, "": false, "10.1.2.3": false, "localhost.": false, "a:b:c": false,
	} {
		r := httptest.NewRequest(http.MethodGet, "/jobs", nil)
		r.Host = host
		if w := b.do(r); (w.Code == http.StatusOK) != ok || !ok && strings.Contains(w.Body.String(), "finished") {
			t.Errorf("host %q: %d", host, w.Code)
		}
	}
	h := b.get("/jobs").Header()
	for _, directive := range []string{"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} {
		if csp := h.Get("Content-Security-Policy"); !strings.Contains(csp, directive) || strings.Contains(csp, "unsafe") {
			t.Errorf("policy %q lacks %q", csp, directive)
		}
	}
	if h.Get("Cache-Control") != "no-store" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", h)
	}
}

func TestStatic(t *testing.T) {
	b := &browser{t: t, page: newPage(t, some(), nil)}
	for path, kind := range map[string]string{"/static/style.css": "text/css", "/static/live.js": "text/javascript", "/static/uplot/uPlot.min.css": "text/css", "/static/icon.svg": "image/svg+xml"} {
		w := b.get(path + "?v=" + version())
		if w.Code != http.StatusOK || !strings.HasPrefix(w.Header().Get("Content-Type"), kind) || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %v", path, w.Code, w.Header())
		}
		if w := b.get(path + "?v=other"); w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s of another version: %v", path, w.Header())
		}
	}
	for _, path := range []string{"/static/", "/static", "/static/../templates/jobs.html", "/static/none"} {
		if w := b.get(path); w.Code == http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

func TestSettings(t *testing.T) {
	own := netip.MustParseAddr("10.1.2.3")
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	host = strings.ToLower(host)
	for _, c := range []struct {
		s       Settings
		at      string
		base    string
		tls     bool
		secure  bool
		allowed string
	}{
		{Settings{Address: "127.0.0.1:0"}, "127.0.0.1:7746", "http://127.0.0.1:7746", false, false, "localhost:9999"},
		{Settings{Address: "localhost:80"}, "127.0.0.1:80", "http://localhost", false, false, "localhost"},
		{Settings{Address: "[::1]:7746"}, "[::1]:7746", "http://[::1]:7746", false, false, "[::1]:7746"},
		{Settings{Address: "127.0.0.1:7746", URL: "https://Grid.example/"}, "127.0.0.1:7746", "https://grid.example", false, true, "grid.example"},
		{Settings{Address: ":7746"}, "[::]:7746", "https://10.1.2.3:7746", true, true, host + ":7746"},
		{Settings{Address: "0.0.0.0:443"}, "0.0.0.0:443", "https://10.1.2.3", true, true, host},
		{Settings{Address: "grid1.example:7746", Cert: "c", Key: "k"}, "10.1.2.3:7746", "https://grid1.example:7746", true, true, "grid1.example:7746"},
		{Settings{Address: "127.0.0.1:7746", Cert: "c", Key: "k"}, "127.0.0.1:7746", "https://127.0.0.1:7746", true, true, "127.0.0.1:7746"},
	} {
		if err := c.s.Check(); err != nil {
			t.Errorf("%+v: %v", c.s, err)
		}
		n, err := namesOf(c.s, netip.MustParseAddrPort(c.at), own)
		if err != nil || n.base != c.base || n.tls != c.tls || n.secure != c.secure || !n.allows(c.allowed) || n.allows("evil.example:7746") {
			t.Errorf("%+v: %+v, %v", c.s, n, err)
		}
		if n.tls && n.allows("localhost:1") && !n.loopback {
			t.Errorf("%+v allows localhost", c.s)
		}
	}
	for _, c := range []struct {
		s    Settings
		want string
	}{
		{Settings{URL: "https://x"}, "--page is not given"},
		{Settings{Address: "127.0.0.1:1", Cert: "c"}, "go together"},
		{Settings{Address: "localhost"}, "expected host:port"},
		{Settings{Address: ":1", URL: "ftp://x"}, "expected such as https"},
		{Settings{Address: ":1", URL: "https://x/path"}, "expected such as https"},
		{Settings{Address: ":1", URL: "grid.example"}, "expected such as https"},
	} {
		if err := c.s.Check(); jobs.KindOf(err) != jobs.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.s, err)
		}
	}
}

// TestOwnCertificate: it is made once, kept over restarts, made anew in time, and named in the reply.
func TestOwnCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, err := os.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		defer dir.Close()
		leaf := func(names ...string) *x509.Certificate {
			t.Helper()
			c, err := (&ownCertificate{dir: dir, names: names}).get(nil)
			if err != nil {
				t.Fatal(err)
			}
			return c.Leaf
		}
		first := leaf("10.1.2.3", "grid.example")
		if first.IsCA || first.VerifyHostname("grid.example") != nil || first.VerifyHostname("10.1.2.3") != nil || first.VerifyHostname("x") == nil {
			t.Errorf("certificate for %v %v", first.DNSNames, first.IPAddresses)
		}
		if again := leaf("grid.example"); !again.Equal(first) {
			t.Error("a restart made another certificate")
		}
		if more := leaf("grid.example", "grid2.example"); more.Equal(first) {
			t.Error("another name has the old certificate")
		}
		time.Sleep(certificateLife - renewBefore + time.Second)
		if next := leaf("grid.example"); next.Equal(first) || time.Until(next.NotAfter) < certificateLife-time.Minute {
			t.Errorf("the certificate was not renewed: it ends %v", next.NotAfter)
		}
		info, err := dir.Stat(CertificateFile)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("its file: %v, %v", info, err)
		}
	})
}

// TestRun: over real connections, by the addresses that the coordinator gives, with and without TLS.
func TestRun(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"loopback": nil,
		"certificate": func(o *Options) {
			text, err := makeCertificate([]string{"127.0.0.1"}, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			file := o.State.Name() + "/pair.pem"
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			o.Cert, o.Key = file, file
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPage(t, some(), change)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- p.Run(ctx) }()
			reply, err := link(p, operator())
			if err != nil {
				t.Fatal(err)
			}
			client := &http.Client{
				Transport:     &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}
			r, err := client.Get(reply.GetUrl())
			if err != nil {
				t.Fatal(err)
			}
			r.Body.Close()
			if c := r.Cookies(); r.StatusCode != http.StatusSeeOther || len(c) != 1 || c[0].Secure != (change != nil) || c[0].Secure != strings.HasPrefix(c[0].Name, "__Host-") {
				t.Errorf("status %s, cookies %v", r.Status, c)
			}
			client.CloseIdleConnections()
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	_, err := New(Options{Settings: Settings{Address: "127.0.0.1:0", Cert: "none.pem", Key: "none.pem"}, Log: slog.New(slog.DiscardHandler)})
	if jobs.KindOf(err) != jobs.Invalid || !strings.Contains(fmt.Sprint(err), "--page-cert") {
		t.Errorf("%v", err)
	}
}
