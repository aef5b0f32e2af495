package web

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// serve runs a page for the time of a test.
func serve(t *testing.T, p *Page) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// following is a stream of a page.
type following struct {
	status int
	header http.Header
	body   io.ReadCloser
}

func (b *browser) follow(of string) following {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, b.page.URL()+"/events?of="+of, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	r.AddCookie(b.cookie)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { response.Body.Close() })
	return following{response.StatusCode, response.Header, response.Body}
}

// TestEvents: what changes comes, once, as a whole, and nothing while all is the same.
func TestEvents(t *testing.T) {
	f := some()
	var mu sync.Mutex
	p := newPage(t, f, func(o *Options) {
		jobs := o.Grid.Jobs
		o.Grid.Jobs = func() []Job {
			mu.Lock()
			defer mu.Unlock()
			return jobs()
		}
	})
	serve(t, p)
	b := logIn(t, p, submitter())
	stream := b.follow("/jobs")
	if stream.status != http.StatusOK || stream.header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%d, %v", stream.status, stream.header)
	}
	if !p.Followed() {
		t.Error("nobody follows")
	}
	lines := bufio.NewScanner(stream.body)
	message := func() string {
		t.Helper()
		var text []string
		for lines.Scan() {
			line := lines.Text()
			switch {
			case line == "" && len(text) > 0:
				return strings.Join(text, "\n")
			case line != "" && !strings.HasPrefix(line, ":"):
				text = append(text, line)
			}
		}
		t.Fatalf("the stream ended: %v", lines.Err())
		return ""
	}
	first := message()
	check(t, "the first message", first, []string{"event: show\n", "data: ", "finished", "40 %", "&lt;script&gt;"}, "bobs", "<script>", "<html")
	began := time.Now()
	mu.Lock()
	f.jobs[1].Accepted += 100
	mu.Unlock()
	check(t, "the second message", message(), []string{"event: show\n", "50 %"})
	if took := time.Since(began); took < changeEvery/2 {
		t.Errorf("a change came after %v", took)
	}
	w := b.post("/leave", map[string][]string{"form": {b.form()}})
	if w.Code != http.StatusOK {
		t.Fatalf("left: %d", w.Code)
	}
	check(t, "the last message", message(), []string{"event: end\n", "logged out"})
	if lines.Scan() && lines.Text() != "" {
		t.Errorf("after the end: %q", lines.Text())
	}
}

// TestStreamsAreBounded: one browser has a few, and gives them back.
func TestStreamsAreBounded(t *testing.T) {
	p := newPage(t, some(), nil)
	serve(t, p)
	b := logIn(t, p, submitter())
	var streams []following
	for range maxLive {
		f := b.follow("/jobs")
		if f.status != http.StatusOK {
			t.Fatalf("%d, %v", f.status, f.header)
		}
		streams = append(streams, f)
	}
	if f := b.follow("/jobs"); f.status != http.StatusServiceUnavailable || f.header.Get("Retry-After") == "" {
		t.Errorf("one too many: %d, %v", f.status, f.header)
	}
	for _, f := range streams {
		f.body.Close()
	}
	for tick := time.NewTicker(10 * time.Millisecond); p.Followed(); <-tick.C {
		if t.Context().Err() != nil {
			t.Fatal("streams are not given back")
		}
	}
	if f := b.follow("%25zz"); f.status != http.StatusBadRequest {
		t.Errorf("no address: %d", f.status)
	}
	if f := (&browser{t: t, page: p, cookie: &http.Cookie{Name: "x", Value: "y"}}).follow("/jobs"); f.status != http.StatusForbidden {
		t.Errorf("a stranger: %d", f.status)
	}
}

// TestEndsWithItsStreams: a page that is followed does not hold up the coordinator's end.
func TestEndsWithItsStreams(t *testing.T) {
	p := newPage(t, some(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	b := logIn(t, p, submitter())
	if f := b.follow("/jobs"); f.status != http.StatusOK {
		t.Fatal(f.status)
	}
	began := time.Now()
	cancel()
	if err := <-done; err != nil || time.Since(began) > 4*endTimeout {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
	if _, err := net.Dial("tcp", p.listener.Addr().String()); err == nil {
		t.Error("it listens on")
	}
}
