package owner

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

func openHistory(t testing.TB, state string) *History {
	t.Helper()
	h, err := OpenHistory(state, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func list(t testing.TB, h *History, limit, skip int) *gridv1.HistoryReply {
	t.Helper()
	r, err := h.list(limit, skip)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// ranOnce is one unit of the n-th job.
func ranOnce(n int) Ran {
	name := fmt.Sprintf("job-%d", n)
	return Ran{
		Job: jobs.JobID(jobs.DigestOf([]byte(name))), Manifest: &manifest.Manifest{Name: name}, Owner: "anna",
		Units: 1, CPU: 250 * time.Microsecond, Memory: int64(n), In: 3, Out: 4,
	}
}

func TestHistoryAddsUpAndLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := t.TempDir()
		h := openHistory(t, state)
		for range 8 {
			h.Ran(ranOnce(1))
			time.Sleep(time.Minute)
		}
		failed := ranOnce(1)
		failed.Failed, failed.Memory = 1, 99
		h.Ran(failed)
		h.Ran(ranOnce(2))
		h.Looked("anna", "Look")
		h.Looked("anna", "Pause")
		check := func(h *History) {
			t.Helper()
			r := list(t, h, 0, 0)
			if len(r.GetJobs()) != 2 || r.GetTotal() != 2 || len(r.GetVisitors()) != 1 {
				t.Fatalf("history %v", r)
			}
			for _, j := range r.GetJobs() {
				if j.GetName() == "job-1" && (j.GetUnits() != 9 || j.GetFailed() != 1 || j.GetCpuUs() != 9*250 || j.GetMemoryBytes() != 99 ||
					j.GetInBytes() != 27 || j.GetOutBytes() != 36 || j.GetOwner() != "anna" || j.GetLastMs()-j.GetFirstMs() != 8*60*1000) {
					t.Errorf("row %v", j)
				}
			}
			if v := r.GetVisitors()[0]; v.GetWho() != "anna" || v.GetWhat() != "Pause" || v.GetCalls() != 2 {
				t.Errorf("visitor %v", v)
			}
		}
		check(h)
		if err := h.write(); err != nil {
			t.Fatal(err)
		}
		check(h)
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
		again := openHistory(t, state)
		check(again)
		if r := list(t, again, 1, 1); len(r.GetJobs()) != 1 || r.GetTotal() != 2 {
			t.Errorf("the second page %v", r)
		}
		if r := list(t, again, 5, 7); len(r.GetJobs()) != 0 {
			t.Errorf("behind the last page %v", r)
		}
	})
}

// writes counts what a history has written of its file.
func writes(h *History) int64 {
	synctest.Wait()
	stats := h.db.Stats()
	return stats.TxStats.GetWrite()
}

// TestHistoryWritesSeldom: at the end of a job and else once an hour, and never while idle.
func TestHistoryWritesSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHistory(t, t.TempDir())
		before := writes(h)
		expect := func(what string, written bool) {
			t.Helper()
			now := writes(h)
			if (now > before) != written {
				t.Errorf("%s: %d writes, expected some: %t", what, now-before, written)
			}
			before = now
		}
		time.Sleep(48 * time.Hour)
		expect("two days with nothing to do", false)
		h.Ran(ranOnce(1))
		time.Sleep(59 * time.Minute)
		h.Ran(ranOnce(1))
		expect("59 minutes", false)
		time.Sleep(time.Minute)
		expect("an hour", true)
		time.Sleep(48 * time.Hour)
		expect("two more idle days", false)
		h.Ran(ranOnce(1))
		h.Ended(ranOnce(2).Job)
		expect("another job has ended", false)
		h.Ended(ranOnce(1).Job)
		expect("the job has ended", true)
		for n := range maxWaiting {
			h.Ran(ranOnce(n))
		}
		expect("many jobs", true)
	})
}

// TestLookingCostsNoWrites: whoever looks each second makes the history be written no more often than work does.
func TestLookingCostsNoWrites(t *testing.T) {
	for name, looks := range map[string]int{"nobody looks": 0, "an operator looks each second": 1, "many do": 100} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := openHistory(t, t.TempDir())
				const hours = 5
				written, last := 0, writes(h)
				for second := range hours * 60 * 60 {
					if second%600 == 0 {
						h.Ran(ranOnce(1))
					}
					for n := range looks {
						h.Looked(fmt.Sprintf("operator %d", n), "who is in the pool")
					}
					time.Sleep(time.Second)
					if now := writes(h); now != last {
						written, last = written+1, now
					}
				}
				if written == 0 || written > hours {
					t.Errorf("written %d times in %d hours", written, hours)
				}
			})
		})
	}
}

func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := openHistory(t, t.TempDir())
		for n := range maxJobs + 500 {
			h.Ran(ranOnce(n))
			h.Looked(fmt.Sprintf("user %d", n), "Look")
			if n%1000 == 0 {
				time.Sleep(time.Second)
				synctest.Wait()
			}
		}
		if err := h.write(); err != nil {
			t.Fatal(err)
		}
		r := list(t, h, 1<<30, -1)
		if len(r.GetJobs()) != maxListed || r.GetTotal() != maxJobs || len(r.GetVisitors()) > maxVisitors {
			t.Fatalf("%d of %d jobs, %d visitors", len(r.GetJobs()), r.GetTotal(), len(r.GetVisitors()))
		}
		oldest := list(t, h, 1, maxJobs-1).GetJobs()
		if len(oldest) != 1 || oldest[0].GetName() == "job-0" {
			t.Errorf("the oldest that is kept: %v", oldest)
		}
		time.Sleep(keepFor + time.Hour)
		h.Ran(ranOnce(7))
		if err := h.write(); err != nil {
			t.Fatal(err)
		}
		if r := list(t, h, 0, 0); r.GetTotal() != 1 {
			t.Errorf("%d jobs after two years", r.GetTotal())
		}
	})
}

func TestDamagedHistoryIsPutAside(t *testing.T) {
	state := t.TempDir()
	path := filepath.Join(state, historyFile)
	if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	h := openHistory(t, state)
	h.Ran(ranOnce(1))
	if r := list(t, h, 0, 0); r.GetTotal() != 1 {
		t.Errorf("history %v", r)
	}
	if _, err := os.Stat(filepath.Join(state, damagedFile)); err != nil {
		t.Error(err)
	}
}

// TestHistoryWaitsForTheDisk: what could not be written is not lost while the agent runs.
func TestHistoryWaitsForTheDisk(t *testing.T) {
	h := openHistory(t, t.TempDir())
	h.Ran(ranOnce(1))
	h.Looked("anna", "Look")
	if err := h.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.write(); err == nil {
		t.Fatal("written to a closed file")
	}
	if h.jobs[ranOnce(1).Job].GetUnits() != 1 || h.visitors["anna"].GetCalls() != 1 || h.timer == nil {
		t.Errorf("what waits: %v, %v", h.jobs, h.visitors)
	}
	h.timer.Stop()
	h.jobs, h.visitors = nil, nil
}

func TestRowsAddUpInAnyGroups(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		one := rapid.Custom(func(t *rapid.T) *gridv1.OwnerJob {
			at := rapid.Int64Range(1, 1000).Draw(t, "at")
			return &gridv1.OwnerJob{
				FirstMs: 1, LastMs: at, Units: rapid.Uint64Range(0, 9).Draw(t, "units"), CpuUs: rapid.Uint64Range(0, 9).Draw(t, "cpu"),
				MemoryBytes: rapid.Uint64Range(0, 9).Draw(t, "memory"),
			}
		})
		a, b, c := one.Draw(t, "a"), one.Draw(t, "b"), one.Draw(t, "c")
		left, right := addJobs(addJobs(a, b), c), addJobs(a, addJobs(b, c))
		if left.String() != right.String() {
			t.Fatalf("%v and %v", left, right)
		}
	})
	if addJobs(nil, nil) != nil {
		t.Error("two of none are one")
	}
}

func TestHistoryIsInUse(t *testing.T) {
	state := t.TempDir()
	openHistory(t, state)
	if _, err := OpenHistory(state, slog.New(slog.DiscardHandler)); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Errorf("opened twice: %v", err)
	}
}
