package ctl

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/blobs"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/results"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// packs is a grid whose packs are here already: nobody is asked for one that is not.
type packs struct {
	*grid
	t     *testing.T
	job   records.Job
	units []ledger.Unit
}

func newPacks(t *testing.T) *packs {
	t.Helper()
	dir, err := blobs.OpenDir(filepath.Join(t.TempDir(), "blobs"), 0)
	if err != nil {
		t.Fatal(err)
	}
	store, err := records.Open(records.Options{
		Path: filepath.Join(t.TempDir(), "records.db"), Reader: true, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(dir.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	return &packs{
		grid: &grid{blobs: dir, store: store, client: blobs.NewClient(dir, nil, key)}, t: t,
		job: records.Job{ID: jobs.JobID{1}, Manifest: &manifest.Manifest{Name: "tour"}},
	}
}

// add adds an accepted unit that stands in a pack of these bytes.
func (p *packs) add(outcome jobs.Digest, pack []byte) {
	p.t.Helper()
	b := jobs.Blob{Digest: jobs.DigestOf(pack), Size: int64(len(pack))}
	if err := p.blobs.Put(blobs.For(p.job.ID), b, bytes.NewReader(pack)); err != nil {
		p.t.Fatal(err)
	}
	p.units = append(p.units, ledger.Unit{Status: ledger.Accepted, Outcome: outcome, From: ledger.ReportRef{Pack: b}})
}

// addFiles adds a unit that left these files.
func (p *packs) addFiles(names ...string) {
	p.t.Helper()
	var o record.Outcome
	for _, name := range names {
		o.Files = append(o.Files, record.File{Path: name})
	}
	p.add(o.Digest(), record.EncodePack([]record.UnitOutcome{{Unit: uint64(len(p.units)), Bytes: o.Encode()}}))
}

func (p *packs) open(dir string) *results.Folder {
	p.t.Helper()
	folder, err := results.Open(dir, results.Job{ID: jobs.Digest(p.job.ID), Name: "tour", Units: uint64(len(p.units))})
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		if err := folder.Close(); err != nil {
			p.t.Error(err)
		}
	})
	return folder
}

// Whatever is wrong with some packs, everything in the others is written.
func TestBadPacksCostOnlyThemselves(t *testing.T) {
	p := newPacks(t)
	want := map[int]string{}
	bad := func(reason string) { want[len(p.units)-1] = reason }
	p.addFiles("good")
	p.add(jobs.Digest{1}, []byte("garbage"))
	bad("pack: index of")
	p.addFiles("a", "a/b")
	bad("another file or folder")
	p.addFiles(strings.Repeat("n", 1000))
	bad("name too long")
	p.add(jobs.Digest{1}, record.EncodePack(nil))
	bad("no outcome")
	p.units = append(p.units, ledger.Unit{From: ledger.ReportRef{Pack: jobs.Blob{Digest: jobs.Digest{2}, Size: 5}}})
	bad("no peer is there that could have it")
	p.units = append(p.units, ledger.Unit{From: ledger.ReportRef{Pack: jobs.Blob{Digest: jobs.Digest{3}, Size: maxPack + 1}}})
	bad("expected at most")
	p.addFiles("good", "too")
	folder := p.open(t.TempDir())
	if err := p.fetchPacks(t.Context(), p.job, folder, p.units); err != nil {
		t.Fatal(err)
	}
	rows := folder.Rows()
	for i, row := range rows {
		reason, isBad := want[i]
		if isBad != (row.Status == ledger.Open) || !strings.Contains(row.Reason, reason) || !isBad && row.Reason != "" {
			t.Errorf("unit %d: %s %q, expected %q", i, row.Status, row.Reason, reason)
		}
	}
	var out bytes.Buffer
	a := &app{stderr: &out}
	err := a.missingUnits(rows, resultsOptions{dir: "dir"}, p.job, "")
	if exitCode(err) != exitIncomplete || !strings.HasPrefix(jobs.HintOf(err), "run it again") {
		t.Errorf("%v with hint %q", err, jobs.HintOf(err))
	}
	if !strings.Contains(out.String(), "unit 1 not written: pack: index of") {
		t.Errorf("said %q", out.String())
	}
}

// What is wrong with this machine ends it.
func TestOwnFaultEndsFetching(t *testing.T) {
	p := newPacks(t)
	p.addFiles("good")
	folder := p.open(filepath.Join(t.TempDir(), "results"))
	_ = folder.Close() // as if the disk were gone
	err := p.fetchPacks(t.Context(), p.job, folder, p.units)
	if exitCode(err) != exitError {
		t.Errorf("got %v", err)
	}
}

// The likely agents are asked early, and everybody at last: once each, within the bound.
func TestSourcesReachHoldersOfASmallerPool(t *testing.T) {
	member := func(n int) peer.Member {
		id := jobs.AgentID(jobs.DigestOf(fmt.Append(nil, n)))
		return peer.Member{ID: id, Role: peer.Agent, Class: peer.Office, Reachable: true}
	}
	var pool []peer.Member
	for n := range 40 {
		pool = append(pool, member(n))
	}
	d := jobs.DigestOf(nil)
	ranked := peer.Holders(d, pool, len(pool))
	likely := []jobs.AgentID{ranked[39].ID, ranked[0].ID, ranked[20].ID, {}}
	got := sources(d, pool, likely)
	seen := map[jobs.AgentID]bool{}
	for _, m := range got {
		seen[m.ID] = true
	}
	if len(got) != 40 || len(seen) != 40 {
		t.Errorf("%d agents are asked, %d of them once, expected all 40", len(got), len(seen))
	}
	early := slices.IndexFunc(got, func(m peer.Member) bool { return m.ID == ranked[39].ID })
	if got[0].ID != ranked[0].ID || early < 2*peer.Copies || early > 2*peer.Copies+1 {
		t.Errorf("the last by rank, who reported it, is asked as number %d", early)
	}
	for n := range 1000 {
		pool = append(pool, member(100+n))
	}
	if n := len(sources(d, pool, likely)); n != maxSources {
		t.Errorf("%d agents are asked of a large pool, expected %d", n, maxSources)
	}
}
