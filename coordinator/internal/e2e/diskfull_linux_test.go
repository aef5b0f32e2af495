package e2e_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestP1DiskFull fills the disk of one of three agents with the results of a job. The others finish the job, what
// the full one acknowledged is there, and it comes back by itself when there is space.
func TestP1DiskFull(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always, always)
	state := g.path("agent3")
	mountTmpfs(t, state, 16)
	g.addAgent(always)
	g.awaitEligible(3)
	small := g.agents[2]
	draining := func() bool {
		for _, m := range g.members(g.agents[0]) {
			if m.Address == small.addresses().Grid {
				return m.Draining
			}
		}
		return false
	}

	job := g.job("filling", 40, 1, "")
	if err := os.WriteFile(g.path("filling", "counter.wasm"), filler(16), 0o600); err != nil {
		t.Fatal(err)
	}
	g.must("gridctl", "run", job, "-d", "local")
	id := g.submit(job)
	g.until("the disk is full and others know", draining)
	g.must("gridctl", "results", id.String(), "--wait", "-d", "results")
	g.sameUnits("results", "local")
	g.keepsItsWord(small, id)
	if small.hasEnded() || !strings.Contains(small.log(), "no space left on device") {
		t.Error("the agent with the full disk has ended, or its disk was not full")
	}

	if err := syscall.Mount("none", state, "tmpfs", syscall.MS_REMOUNT, "size=128m"); err != nil {
		t.Fatal(err)
	}
	g.until("the agent takes part again", func() bool { return !draining() })
	more := g.job("more", 40, 200e6, "")
	g.must("gridctl", "run", more, "-d", "more-local")
	again := g.submit(more)
	g.untilWorked(again, small)
	g.must("gridctl", "results", again.String(), "--wait", "-d", "more-results")
	g.sameUnits("more-results", "more-local")
	g.keepsItsWord(small, id)

	small.stop()
	before := fingerprint(t, state)
	if err := syscall.Mount("none", state, "tmpfs", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	g.exits(1, "gridagent", "run", "--state", state, "--listen", "127.0.0.1:0").
		says(t, "read-only file system", "hint: the state folder must be one that this user may write to")
	if after := fingerprint(t, state); len(after) != len(before) {
		t.Errorf("a folder that cannot be written has %d files, %d before", len(after), len(before))
	}
}

// mountTmpfs mounts a file system of so many MiB until the test ends. Where that is not allowed the test is skipped,
// but never in CI.
func mountTmpfs(t *testing.T, path string, mib int) {
	t.Helper()
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("none", path, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", mib)); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI must mount a small disk: %v", err)
		}
		t.Skipf("SKIPPED, A FULL DISK IS NOT TESTED: cannot mount a small one (needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(path, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// filler returns a program that prints so many pages of 64 KiB.
func filler(pages int64) []byte {
	const iov, page = 16, 1 << 16
	return wasm(slices.Concat(
		store(iov, i32(0)), store(iov+4, i32(page)),
		[]byte{opI64Const}, signed(pages), []byte{opLocalSet, 0},
		[]byte{opLoop, typeVoid},
		i32(1), i32(iov), i32(1), i32(32), call(2), []byte{opDrop},
		[]byte{opLocalGet, 0, opI64Const, 1, opI64Sub, opLocalTee, 0, opI64Const, 0, opI64GreaterS, opBrIf, 0, opEnd},
	))
}

// keepsItsWord fails the test unless an agent has all of its reports of a job that others keep, and all packs for
// which they have its receipt.
func (g *grid) keepsItsWord(a *daemon, job jobs.JobID) {
	g.t.Helper()
	id := g.idOf(a)
	own := g.reports(a, job)
	receipts := 0
	for _, other := range g.agents {
		if other == a {
			continue
		}
		for _, o := range g.offers(other, jobs.ShardID{Job: job}) {
			r, err := record.DecodeReport(o.Envelope.Payload)
			if err != nil {
				g.t.Fatal(err)
			}
			if r.Author == id && own[o.Envelope.ID()] == nil {
				g.t.Errorf("%s lacks a report of its own that %s keeps", a.name, other.name)
			}
			for _, e := range o.Receipts {
				if receipt, err := record.DecodeReceipt(e.Payload); err != nil || receipt.Holder != id {
					continue
				}
				receipts++
				if !g.has(a, job, r.Pack.Digest) {
					g.t.Errorf("%s lacks pack %s, for which it gave a receipt", a.name, r.Pack.Digest)
				}
			}
		}
	}
	if receipts == 0 {
		g.t.Errorf("%s gave no receipts", a.name)
	}
}

// has asks an agent whether it has a blob.
func (g *grid) has(a *daemon, job jobs.JobID, d jobs.Digest) (has bool) {
	g.t.Helper()
	err := g.call(a.addresses().Grid, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		reply, err := gridv1.NewBlobsClient(conn).Have(ctx, &gridv1.HaveRequest{Job: job[:], Digests: [][]byte{d[:]}})
		has = slices.Equal(reply.GetHave(), []bool{true})
		return err
	})
	if err != nil {
		g.t.Error(err)
	}
	return has
}
