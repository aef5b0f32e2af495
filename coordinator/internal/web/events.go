package web

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

const (
	// changeEvery is how often a stream tells of changes at most, and aliveEvery how often that it is there still.
	changeEvery = 2 * time.Second
	aliveEvery  = 20 * time.Second
	// writeTimeout bounds what a browser may take to read one message.
	writeTimeout = 10 * time.Second
)

// events streams what changes of one page, as server-sent events: at most one message each changeEvery, and none while
// all stays the same.
func (p *Page) events(w http.ResponseWriter, r *http.Request, l *login) {
	of, err := url.Parse(r.URL.Query().Get("of"))
	if err != nil {
		p.refuse(w, http.StatusBadRequest, "That is no address of a page.")
		return
	}
	leave, ok := p.logins.enter(l)
	if !ok {
		w.Header().Set("Retry-After", "60")
		p.refuse(w, http.StatusServiceUnavailable, "Too many pages are live; this one has to be loaded anew.")
		return
	}
	defer leave()
	w.Header().Set("Content-Type", "text/event-stream")
	s := stream{w: w, control: http.NewResponseController(w), sent: time.Now()}
	if err := s.control.SetReadDeadline(time.Time{}); err != nil { // the server's own bounds a request, which has come
		p.tell(w, l, err)
		return
	}
	tick := time.NewTicker(changeEvery)
	defer tick.Stop()
	for first := true; ; first = false {
		if p.in(r) == nil {
			_ = s.send("end", []byte("You are logged out: open the page with a new link.")) // it ends either way
			return
		}
		if err := p.event(&s, r, of, l, first); err != nil {
			return // the browser is gone
		}
		select {
		case <-r.Context().Done():
			return
		case <-p.ended.Done():
			return
		case <-tick.C:
		}
	}
}

// event sends what is to be seen now, if it is not what was sent before.
func (p *Page) event(s *stream, r *http.Request, of *url.URL, l *login, first bool) error {
	v, err := p.find(r.Context(), of, l)
	if err != nil {
		// A job may be gone, or its stewards be silent: what is on the screen stays.
		return s.alive(first)
	}
	text, err := live(v)
	if err != nil {
		p.log.Error("cannot render a page's change", "page", v.page, "err", err)
		return s.alive(first)
	}
	if sum := sha256.Sum256(text); sum != s.last {
		s.last = sum
		return s.send("show", text)
	}
	return s.alive(first)
}

// stream is a browser that listens.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
	last    [sha256.Size]byte // of what was sent
	sent    time.Time
}

func (s *stream) send(event string, text []byte) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "event: %s\n", event)
	for line := range bytes.Lines(text) {
		out.WriteString("data: ")
		out.Write(bytes.TrimRight(line, "\r\n"))
		out.WriteByte('\n')
	}
	out.WriteByte('\n')
	return s.write(out.Bytes())
}

// alive says that nothing changed, now and then: what lies between drops connections that are silent.
func (s *stream) alive(now bool) error {
	if !now && time.Since(s.sent) < aliveEvery {
		return nil
	}
	return s.write([]byte(": alive\n\n"))
}

func (s *stream) write(text []byte) error {
	s.sent = time.Now()
	if err := s.control.SetWriteDeadline(s.sent.Add(writeTimeout)); err != nil {
		return err
	}
	if _, err := s.w.Write(text); err != nil {
		return err
	}
	return s.control.Flush()
}
