// Package panel is the owner's page: what the agent does on this PC and why, with buttons to pause and stop it, the last
// day, history and policy. It is served on loopback only, rendered here, and needs no script.
//
// It promises: nobody sees or does anything without a ticket, which only the agent's local socket gives (`gridagent
// panel`) and which turns into a cookie that other sites cannot use; a request whose Host is another name is refused,
// so that no site's name can be pointed here; whatever changes something needs a word that only the page has. The page
// loads nothing from elsewhere.
package panel

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/owner"
	"idlegrid/agent/peer/durable"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// ticketLife is how long an address lets in, and maxTickets how many do at a time.
	ticketLife = 5 * time.Minute
	maxTickets = 64
	// SeenFile is in the state folder once somebody has read what this is.
	SeenFile = "panel.seen"
	// maxForm bounds what a button sends, in bytes.
	maxForm = 4 << 10
	// jobsShown is how many past jobs the page lists.
	jobsShown = 20
	// endTimeout bounds how long pages under way may take at the end.
	endTimeout = time.Second
)

// Owner is what the page asks and tells; see owner.Owner.
type Owner interface {
	Look(ctx context.Context) *gridv1.LookReply
	Why() *gridv1.WhyReply
	Samples() ([]harvest.Sample, int)
	History(limit, skip int) (*gridv1.HistoryReply, error)
	Policy() *gridv1.PolicyReply
	Pause(until time.Time) error
	StopJobs(until time.Time) error
	Resume() (bool, error)
	Looked(who, what string)
}

// Options say how a Panel is made.
type Options struct {
	Owner Owner
	State *os.Root // the state folder
	Port  int      // 0: the system chooses
	Log   *slog.Logger
}

// Panel is the page.
type Panel struct {
	o        Options
	listener net.Listener
	host     string // that requests have to name
	cookie   string // its name: other programs on this PC have cookies of their own at other ports
	session  string // its value, as long as the agent runs
	form     string // the word in every form

	mu      sync.Mutex // guards tickets
	tickets map[string]time.Time
}

// New listens on loopback. Serve it with Run.
func New(o Options) (*Panel, error) {
	l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", o.Port))
	if err != nil {
		return nil, jobs.WithHint(jobs.Errorf(jobs.Unavailable, "open the owner's page: %w", err), "another program may have the port")
	}
	port := l.Addr().(*net.TCPAddr).Port
	return &Panel{
		o: o, listener: l, host: l.Addr().String(), cookie: fmt.Sprintf("idlegrid_%d", port),
		session: rand.Text(), form: rand.Text(), tickets: map[string]time.Time{},
	}, nil
}

// Run serves until ctx ends.
func (p *Panel) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: p.handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(p.o.Log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(p.listener) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve the owner's page: %w", err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	err := server.Shutdown(ending)
	if err != nil {
		err = server.Close() // who still reads is cut off
	}
	if e := <-done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// Close stops listening where Run was never called. Twice is harmless.
func (p *Panel) Close() error {
	if err := p.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// URL returns an address that lets in for a few minutes.
func (p *Panel) URL() string {
	ticket, now := rand.Text(), time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	oldest := ""
	for t, made := range p.tickets {
		if now.Sub(made) > ticketLife {
			delete(p.tickets, t)
		} else if oldest == "" || made.Before(p.tickets[oldest]) {
			oldest = t
		}
	}
	if len(p.tickets) >= maxTickets {
		delete(p.tickets, oldest)
	}
	p.tickets[ticket] = now
	return "http://" + p.host + "/?ticket=" + ticket
}

// good reports whether a ticket lets in now.
func (p *Panel) good(ticket string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	made, ok := p.tickets[ticket]
	return ok && time.Since(made) <= ticketLife
}

func (p *Panel) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.enter)
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "style.css") })
	for name, do := range map[string]func(*http.Request) error{
		"pause": p.pause, "resume": p.resume, "stop": p.stop, "seen": p.seen,
	} {
		mux.HandleFunc("POST /"+name, p.change(do))
	}
	return p.guard(mux)
}

// guard refuses other names than ours, and says what the browser may do with the page.
func (p *Panel) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.Host != p.host {
			http.Error(w, "this page is at http://"+p.host+" only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// in reports whether a request comes from a browser that was let in.
func (p *Panel) in(r *http.Request) bool {
	c, err := r.Cookie(p.cookie)
	return err == nil && same(c.Value, p.session)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

const closed = "This page opens with a ticket: run `gridagent panel` in your session on this PC.\n"

// enter shows the page, and turns a ticket into a cookie first, so that it stays in no address.
func (p *Panel) enter(w http.ResponseWriter, r *http.Request) {
	if ticket := r.URL.Query().Get("ticket"); ticket != "" {
		if !p.good(ticket) {
			http.Error(w, "The ticket has expired. "+closed, http.StatusForbidden)
			return
		}
		http.SetCookie(w, &http.Cookie{ //nolint:gosec // On loopback there is no TLS that Secure could ask for.
			Name: p.cookie, Value: p.session, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
		})
		p.o.Owner.Looked("the page on this PC", "Panel")
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	if !p.in(r) {
		http.Error(w, closed, http.StatusForbidden)
		return
	}
	p.show(w, r, http.StatusOK, "")
}

// change does what a button says and shows the page again.
func (p *Panel) change(do func(*http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		switch err := r.ParseForm(); {
		case !p.in(r):
			http.Error(w, closed, http.StatusForbidden)
		case err != nil:
			http.Error(w, "the form cannot be read", http.StatusBadRequest)
		case !same(r.PostForm.Get("form"), p.form):
			http.Error(w, "The page was from before the agent started anew: go back, load it again and press the button once more.", http.StatusForbidden)
		default:
			if err := do(r); err != nil {
				p.o.Log.Warn("cannot do what the owner asked for on the page", "err", err)
				p.show(w, r, http.StatusInternalServerError, err.Error())
				return
			}
			http.Redirect(w, r, "/", http.StatusSeeOther)
		}
	}
}

func (p *Panel) pause(r *http.Request) error {
	until, err := untilOf(r.PostForm.Get("until"), time.Now())
	if err != nil {
		return err
	}
	return p.o.Owner.Pause(until)
}

// untilOf reads when a button's pause ends; zero: when the owner resumes.
func untilOf(word string, now time.Time) (time.Time, error) {
	switch word {
	case "hour":
		return now.Add(time.Hour), nil
	case "tomorrow":
		return owner.Tomorrow(now), nil
	case "resume":
		return time.Time{}, nil
	}
	return time.Time{}, jobs.Errorf(jobs.Invalid, "a pause until %.20q: expected hour, tomorrow or resume", word)
}

func (p *Panel) resume(*http.Request) error {
	_, err := p.o.Owner.Resume()
	return err
}

func (p *Panel) stop(*http.Request) error { return p.o.Owner.StopJobs(time.Time{}) }

func (p *Panel) seen(*http.Request) error {
	return durable.WriteFile(p.o.State, SeenFile, []byte("the owner has read what this is\n"), 0o600)
}

// first reports whether nobody has read yet what this is.
func (p *Panel) first() bool {
	_, err := p.o.State.Stat(SeenFile)
	return errors.Is(err, fs.ErrNotExist)
}
