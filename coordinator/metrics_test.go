package coordinator

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/program/exporter/exportertest"
	"idlegrid/coordinator/internal/accounts"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

var update = flag.Bool("update", false, "write the table of deploy/docs/metrics.md anew")

// open returns a new grid's coordinator, which does not run.
func open(t *testing.T) *Coordinator {
	t.Helper()
	state := t.TempDir()
	dir, err := os.OpenRoot(state)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close() // It was written to and synced.
	if err := Init(dir); err != nil {
		t.Fatal(err)
	}
	network, err := node.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Options{State: state, Network: network, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// TestDocumented is about what the accounts show after their first look, too.
func TestDocumented(t *testing.T) {
	book, err := accounts.New(accounts.Options{
		Path: filepath.Join(t.TempDir(), accounts.File), Owner: func(jobs.KeyID) string { return "" }, Submitters: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	book.Saw(accounts.Look{}, time.Now().Add(time.Hour)) // a new book shows nothing for a while
	ended, end := context.WithCancel(t.Context())
	end()
	book.Run(ended) // writes once
	t.Cleanup(func() {
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(book)
	exportertest.Documented(t, prometheus.Gatherers{open(t).metrics, registry}, "coordinator", "../deploy/docs/metrics.md", *update)
}

// values returns what the page has of a metric, by the values of its labels.
func values(t *testing.T, c *Coordinator, name string) map[string]float64 {
	t.Helper()
	families, err := c.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		if f.GetName() != "idlegrid_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			key := ""
			for _, l := range m.GetLabel() {
				key += l.GetName() + "=" + l.GetValue() + " "
			}
			all[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

func TestMetricsOfItself(t *testing.T) {
	c := open(t)
	const day = 24 * time.Hour
	ends := values(t, c, "certificate_expiry_timestamp_seconds")
	for name, life := range map[string]time.Duration{"own": identity.CertificateLife, "issuing": 5 * 365 * day, "root": 20 * 365 * day} {
		left := time.Until(time.Unix(int64(ends["certificate="+name+" "]), 0))
		if left > life || left < life-day {
			t.Errorf("the %s certificate ends in %s, expected %s", name, left, life)
		}
	}
	free, size := values(t, c, "state_disk_free_bytes")[""], values(t, c, "state_disk_size_bytes")[""]
	if free <= 0 || free > size {
		t.Errorf("%v bytes of %v are free", free, size)
	}
	data := []byte("some bytes")
	blob := jobs.Blob{Digest: jobs.DigestOf(data), Size: int64(len(data))}
	if err := c.node.Blobs.Put(blobs.For(jobs.JobID{1}), blob, bytes.NewReader(data)); err != nil {
		t.Fatal(err)
	}
	if used, quota := values(t, c, "coordinator_blob_bytes")[""], values(t, c, "coordinator_blob_quota_bytes")[""]; used != 10 || quota < 1<<20 {
		t.Errorf("%v bytes of %v are used", used, quota)
	}
}

// TestMissingDisk: where the disk cannot be looked at the rest is told.
func TestMissingDisk(t *testing.T) {
	c := open(t)
	c.o.State = filepath.Join(c.o.State, "gone")
	families, err := c.metrics.Gather()
	if err == nil || !strings.Contains(err.Error(), "gone") || len(families) < 10 {
		t.Errorf("%d metrics, %v", len(families), err)
	}
}

func TestCallsAreCounted(t *testing.T) {
	c := open(t)
	c.answered(gridv1.Control_Status_FullMethodName, codes.OK)
	c.answered(gridv1.Control_Leave_FullMethodName, codes.Unimplemented)
	calls := values(t, c, "rpc_calls_total")
	if calls["code=OK method=Control/Status "] != 1 || calls["code=Unimplemented method=Control/Leave "] != 1 {
		t.Errorf("%v", calls)
	}
}
