package exporter

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestServe(t *testing.T) {
	l, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := Listen(l.Addr().String()); err == nil {
		t.Errorf("%s was opened twice", other.Addr())
	}
	r := NewRegistry(true)
	broken := prometheus.NewDesc("idlegrid_broken", "", nil, nil)
	r.MustRegister(prometheus.CollectorFunc(func(to chan<- prometheus.Metric) { to <- prometheus.NewInvalidMetric(broken, errors.New("it hangs")) }))
	ctx, cancel := context.WithCancel(t.Context())
	var log strings.Builder
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, r, slog.New(slog.NewTextHandler(&log, nil))) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(page), "\ngo_goroutines ") {
		t.Errorf("%s, %v: %s", resp.Status, err, page)
	}
	http.DefaultClient.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "it hangs") {
		t.Errorf("the log does not tell what could not be collected: %s", log.String())
	}
	if err := errors.Join(Close(l), Close(nil)); err != nil {
		t.Error(err)
	}
	if err := Serve(t.Context(), l, r, slog.New(slog.DiscardHandler)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("on a closed listener: %v", err)
	}
}

func TestDocument(t *testing.T) {
	r := prometheus.NewRegistry()
	jobs := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "idlegrid_jobs_total", Help: "Jobs that ended."}, []string{"result", "class"})
	r.MustRegister(jobs, prometheus.NewGauge(prometheus.GaugeOpts{Name: "go_other", Help: "Not ours."}))
	jobs.WithLabelValues("ok", "office").Inc()
	jobs.WithLabelValues("failed", "office").Inc()
	table, err := Table(r)
	if err != nil {
		t.Fatal(err)
	}
	const text = "A\n<!-- metrics of agent -->\nold\n<!-- end -->\nB\n<!-- metrics of coordinator -->\nits\n<!-- end -->\n"
	const want = "A\n<!-- metrics of agent -->\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n" +
		"| `idlegrid_jobs_total` | counter | class: office; result: failed, ok | Jobs that ended. |\n\n<!-- end -->\nB\n" +
		"<!-- metrics of coordinator -->\nits\n<!-- end -->\n"
	got, err := Document(text, "agent", table)
	if got != want || err != nil {
		t.Errorf("%v, got\n%s\nexpected\n%s", err, got, want)
	}
	if again, err := Document(got, "agent", table); again != got || err != nil {
		t.Errorf("a second time: %v\n%s", err, again)
	}
	for _, bad := range []string{"", "<!-- metrics of agent -->\n", "<!-- end -->\n<!-- metrics of agent -->\n"} {
		if got, err := Document(bad, "agent", table); err == nil {
			t.Errorf("%q became %q", bad, got)
		}
	}
}
