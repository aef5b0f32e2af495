package accounts

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
)

// text is a harvest in seconds.
func (h Harvest) text() (out string) {
	for _, hour := range h.Hours {
		out += fmt.Sprintf("%s %d+%d of %d\n", hour.Begin.Format("2T15"), hour.CPU[ledger.UsefulCPU]/micro, hour.CPU[ledger.LostCPU]/micro, hour.CoreMic/micro)
	}
	for _, s := range h.By {
		out += fmt.Sprintf("%s %d\n", s.Name, s.Total()/micro)
	}
	return out
}

// TestHarvest: hour by hour and by submitter, whether jobs are live, folded, or read from the disk.
func TestHarvest(t *testing.T) {
	h := newHand(t)
	one, two, again := newJob(1, key(1), 48*time.Hour), newJob(2, key(2), 72*time.Hour), newJob(3, key(1), 48*time.Hour)
	h.see(0, 4, nil)
	h.see(time.Minute, 4, map[*records.Job][]ledger.HourSpend{
		one: append(at(0, 1, 0, 16), at(1, 2, 0, 0)...), two: append(at(1, 40, 0, 0), at(26, 8, 0, 0)...), again: at(0, 100, 0, 0),
	})
	check := func(what string, since, until time.Duration, pass func(jobs.KeyID, string) bool, want string) {
		t.Helper()
		got, err := h.Harvest(noon.Add(since), noon.Add(until), pass)
		if err != nil || got.text() != want {
			t.Errorf("%s: %v\n%s, expected\n%s", what, err, got.text(), want)
		}
	}
	alice := func(_ jobs.KeyID, owner string) bool { return owner == "alice" }
	for _, when := range []string{"live", "folded", "from the disk"} {
		check(when, 0, 100*time.Hour, everybody, "26T12 101+16 of 240\n26T13 42+0 of 0\n27T14 8+0 of 0\nalice 119\nbob 48\n")
		check("one hour, "+when, time.Hour, 2*time.Hour, everybody, "26T13 42+0 of 0\nbob 40\nalice 2\n")
		check("one submitter, "+when, 0, 100*time.Hour, alice, "26T12 101+16 of 240\n26T13 2+0 of 0\nalice 119\n")
		check("nothing, "+when, 2*time.Hour, 3*time.Hour, everybody, "")
		if when == "live" {
			h.see(100*time.Hour, 0, nil)
			h.save(h.now)
			continue
		}
		h.restart()
	}
}

// TestHarvestAddsUp: it has neither more nor less than the rows of the same time.
func TestHarvestAddsUp(t *testing.T) {
	h := newHand(t)
	rapid.Check(t, func(t *rapid.T) {
		clear(h.jobs)
		clear(h.pending)
		for n := range rapid.ByteMax(8).Draw(t, "jobs") {
			j := &job{whose: whose{key(n % 4), "wasm"}, owner: fmt.Sprint(n % 3)}
			for _, hour := range rapid.SliceOfDistinct(rapid.IntRange(0, 60), rapid.ID[int]).Draw(t, "hours") {
				j.account = append(j.account, at(hour, rapid.Uint64Range(0, 9).Draw(t, "useful"), 1, 2)...)
				h.pending[j.account[0].Hour] = uint64(hour)
			}
			h.jobs[jobs.JobID{n}] = j
		}
		since := noon.Add(time.Duration(rapid.IntRange(0, 60*60).Draw(t, "minutes")) * time.Minute)
		got, err := h.Harvest(since, since.Add(24*time.Hour), everybody)
		rows, err2 := h.Rows(since, since.Add(24*time.Hour), everybody)
		offered, err3 := h.OfferedBy(since, since.Add(24*time.Hour))
		if err != nil || err2 != nil || err3 != nil {
			t.Fatal(err, err2, err3)
		}
		var byHour, byPerson, byDay ledger.Spend
		var left uint64
		for _, hour := range got.Hours {
			byHour.Add(hour.Spend)
			left += hour.CoreMic
		}
		for _, s := range got.By {
			byPerson.Add(s.Spend)
		}
		for _, r := range rows {
			byDay.Add(r.Spend)
		}
		for _, o := range offered {
			left -= o.CoreMic
		}
		if byHour != byDay || byPerson != byDay || left != 0 {
			t.Errorf("by hour %v, by submitter %v, by day %v; %d more offered", byHour, byPerson, byDay, left)
		}
	})
}

// TestHarvestIsBounded: a question for too much is refused.
func TestHarvestIsBounded(t *testing.T) {
	h := newHand(t)
	for n := range MaxRows + 1 {
		id := jobs.KeyID(jobs.DigestOf(fmt.Append(nil, n)))
		h.jobs[jobs.JobID(id)] = &job{whose: whose{id, "wasm"}, account: at(n, 1, 0, 0)}
	}
	if _, err := h.Harvest(noon, noon.Add(math.MaxInt64/2), everybody); jobs.KindOf(err) != jobs.Exhausted {
		t.Error(err)
	}
	if got, err := h.Harvest(noon, noon.Add(24*time.Hour), everybody); err != nil || len(got.Hours) != 24 || len(got.By) != 24 {
		t.Error(len(got.Hours), len(got.By), err)
	}
}

// BenchmarkHarvest reads four weeks of an office in which fifty submitters always have work.
func BenchmarkHarvest(b *testing.B) {
	h := newHand(b)
	h.db.NoSync = true
	live := map[*records.Job][]ledger.HourSpend{}
	for n := range byte(50) {
		var account []ledger.HourSpend
		for hour := range 28 * 24 {
			account = append(account, at(hour, 1000, 10, 10)...)
		}
		live[newJob(n, key(n), 28*24*time.Hour)] = account
	}
	h.see(0, 0, live)
	h.see(29*24*time.Hour, 0, nil)
	h.save(h.now)
	for b.Loop() {
		if got, err := h.Harvest(noon, h.now, everybody); err != nil || len(got.Hours) != 28*24 {
			b.Fatal(len(got.Hours), err)
		}
	}
}
