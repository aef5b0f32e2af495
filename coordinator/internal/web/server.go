package web

import (
	"bytes"
	"context"
	"crypto/subtle"
	"embed"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"idlegrid/jobs"
)

//go:embed static
var static embed.FS

const closed = "This page opens with a link: run `gridctl open` where you are logged in to the grid."

// policy lets the browser load what the page itself has, and nothing else.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func (p *Page) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /enter", p.enter)
	mux.HandleFunc("GET /static/", serveStatic())
	mux.HandleFunc("GET /events", p.known(p.events))
	mux.HandleFunc("POST /leave", p.change(p.leave))
	mux.HandleFunc("POST /machines", p.change(p.inspect))
	mux.HandleFunc("GET /", p.known(p.show))
	return p.guard(mux)
}

// guard refuses other names than ours, and says what the browser may do with the page.
func (p *Page) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !p.names.allows(r.Host) {
			http.Error(w, "this page is at "+p.names.base+" only", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (p *Page) port() string {
	_, port, _ := net.SplitHostPort(p.listener.Addr().String())
	return port
}

// known calls f for those who were let in.
func (p *Page) known(f func(http.ResponseWriter, *http.Request, *login)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if l := p.in(r); l != nil {
			f(w, r, l)
			return
		}
		p.refuse(w, http.StatusForbidden, closed)
	}
}

// change calls f for those who press a button on the page itself.
func (p *Page) change(f func(http.ResponseWriter, *http.Request, *login)) http.HandlerFunc {
	return p.known(func(w http.ResponseWriter, r *http.Request, l *login) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		switch err := r.ParseForm(); {
		case err != nil:
			p.refuse(w, http.StatusBadRequest, "The form cannot be read.")
		case subtle.ConstantTimeCompare([]byte(r.PostForm.Get("form")), []byte(l.form)) != 1:
			p.refuse(w, http.StatusForbidden, "The page was from before you logged in: go back, load it again and press the button once more.")
		default:
			f(w, r, l)
		}
	})
}

// serveStatic gives what is the same for everybody. What is asked for by its version may be kept.
func serveStatic() http.HandlerFunc {
	files := http.FileServerFS(static)
	return func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/") { // a folder
			http.NotFound(w, r)
			return
		}
		if r.URL.Query().Get("v") == version() {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		files.ServeHTTP(w, r)
	}
}

// view is a page that is about to be rendered.
type view struct {
	Title string // of the window and the page
	Room  string // jobs, pool or harvest
	Grid  string
	Who   string
	Role  string
	Form  string
	Live  bool // it may be followed as a stream
	Now   time.Time
	Data  any

	page string // its template
}

// find returns what is to be seen at an address. Its error is for the reader.
func (p *Page) find(ctx context.Context, u *url.URL, l *login) (*view, error) {
	room, rest, deep := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	v := &view{Room: room, Live: true}
	var err error
	switch {
	case room == "jobs" && !deep:
		v.page, v.Title = "jobs", "Jobs"
		v.Data = p.jobs(u.Query(), l)
	case room == "jobs":
		v.page = "job"
		var d *jobView
		if d, err = p.job(ctx, rest, l); err == nil {
			v.Title, v.Data = d.Name, d
		}
	case room == "pool" && !deep:
		v.page, v.Title = "pool", "Pool"
		v.Data = p.pool(u.Query(), l)
	case room == "harvest" && !deep:
		v.page, v.Title = "harvest", "Harvest"
		v.Data, err = p.harvest(l)
	default:
		err = jobs.Errorf(jobs.NotFound, "there is no page %.80q here", u.Path)
	}
	p.address(v, l)
	return v, err
}

// address says whose page it is.
func (p *Page) address(v *view, l *login) {
	v.Grid, v.Now = p.o.Grid.ID, time.Now()
	if l != nil {
		v.Who, v.Role, v.Form = l.name, l.who.Role.String(), l.form
	}
}

func (p *Page) show(w http.ResponseWriter, r *http.Request, l *login) {
	if r.URL.Path == "/" {
		http.Redirect(w, r, "/jobs", http.StatusSeeOther)
		return
	}
	v, err := p.find(r.Context(), r.URL, l)
	if err != nil {
		p.tell(w, l, err)
		return
	}
	p.render(w, http.StatusOK, v)
}

// tell shows an error.
func (p *Page) tell(w http.ResponseWriter, l *login, err error) {
	status := http.StatusInternalServerError
	switch jobs.KindOf(err) {
	case jobs.NotFound:
		status = http.StatusNotFound
	case jobs.Denied:
		status = http.StatusForbidden
	case jobs.Invalid:
		status = http.StatusBadRequest
	case jobs.Unavailable, jobs.Exhausted:
		status = http.StatusServiceUnavailable
	default:
		p.log.Warn("a page cannot be shown", "err", err)
	}
	v := &view{Title: "That did not work", Data: strings.TrimSpace(sentence(err) + " " + jobs.HintOf(err)), page: "message"}
	p.address(v, l)
	p.render(w, status, v)
}

// refuse says something to a browser that is not, or no longer, let in.
func (p *Page) refuse(w http.ResponseWriter, status int, text string) {
	v := &view{Title: "The grid's page", Data: text, page: "message"}
	p.address(v, nil)
	p.render(w, status, v)
}

// sentence is an error for people.
func sentence(err error) string {
	text := err.Error()
	first, n := utf8.DecodeRuneInString(text)
	if n == 0 {
		return "It failed, and nothing says why."
	}
	return string(unicode.ToUpper(first)) + text[n:] + "."
}

func (p *Page) render(w http.ResponseWriter, status int, v *view) {
	var out bytes.Buffer
	if err := pages()[v.page].Execute(&out, v); err != nil {
		p.log.Error("cannot render a page", "page", v.page, "err", err)
		http.Error(w, "the page failed by a fault of the program; gridctl tells the same", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes()) // a browser that has gone wants nothing
}

// live renders what changes of a page.
func live(v *view) ([]byte, error) {
	var out bytes.Buffer
	err := pages()[v.page].ExecuteTemplate(&out, "live", v)
	return out.Bytes(), err
}
