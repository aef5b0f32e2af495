package accounts

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// hand is a Book whose clock is the test.
type hand struct {
	t interface {
		Helper()
		Fatal(args ...any)
	}
	*Book
	o   Options
	log *bytes.Buffer
	now time.Time
}

func newHand(t testing.TB) *hand {
	t.Helper()
	h := &hand{t: t, now: noon, log: new(bytes.Buffer)}
	h.o = Options{
		Path: filepath.Join(t.TempDir(), File), Submitters: true, Log: slog.New(slog.NewTextHandler(h.log, nil)),
		Owner: func(by jobs.KeyID) string { return map[jobs.KeyID]string{key(1): "alice", key(2): "bob"}[by] },
	}
	h.start()
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *hand) start() {
	h.t.Helper()
	var err error
	if h.Book, err = New(h.o); err != nil {
		h.t.Fatal(err)
	}
	h.born = h.now
}

// restart starts anew as after a kill: what was not written is gone.
func (h *hand) restart() {
	h.t.Helper()
	if err := h.Close(); err != nil {
		h.t.Fatal(err)
	}
	h.start()
}

// see looks at jobs with these accounts after a while.
func (h *hand) see(after time.Duration, cores int, accounts map[*records.Job][]ledger.HourSpend) {
	h.now = h.now.Add(after)
	l := Look{Cores: cores, Accounts: map[jobs.ShardID][]ledger.HourSpend{}}
	for j, account := range accounts {
		l.Jobs = append(l.Jobs, *j)
		if account != nil {
			l.Accounts[jobs.ShardID{Job: j.ID}] = account
		}
	}
	h.Saw(l, h.now)
}

// settle makes a new book ready.
func (h *hand) settle() {
	h.see(settleNew, 0, nil)
	h.save(h.now)
}

func key(n byte) jobs.KeyID { return jobs.KeyID(jobs.DigestOf([]byte{n})) }

func newJob(n byte, by jobs.KeyID, lives time.Duration) *records.Job {
	m := &manifest.Manifest{Submitter: by, Runtime: manifest.RuntimeWasm, Units: 10, Bundle: 1, Created: noon, Expires: noon.Add(lives)}
	return &records.Job{ID: jobs.JobID{n}, Manifest: m}
}

// at is an account of one hour, so long after noon, in seconds of useful, repeated and lost CPU time.
func at(hours int, useful, repeated, lost uint64) []ledger.HourSpend {
	h := ledger.HourSpend{Hour: record.HourOf(noon.Add(time.Duration(hours) * time.Hour))}
	h.CPU[ledger.UsefulCPU], h.CPU[ledger.RepeatedCPU], h.CPU[ledger.LostCPU] = useful*micro, repeated*micro, lost*micro
	h.Runs[ledger.UsefulCPU] = useful
	return []ledger.HourSpend{h}
}

func everybody(jobs.KeyID, string) bool { return true }

// all returns all rows.
func (h *hand) all() []Row {
	h.t.Helper()
	rows, err := h.Rows(noon.Add(-1000*24*time.Hour), noon.Add(1000*24*time.Hour), everybody)
	if err != nil {
		h.t.Fatal(err)
	}
	return rows
}

func (h *hand) page(t *testing.T, names ...string) string {
	t.Helper()
	r := prometheus.NewRegistry()
	r.MustRegister(h.Book)
	var page bytes.Buffer
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if len(names) > 0 && !slices.Contains(names, f.GetName()) {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if v := m.GetCounter().GetValue(); v != 0 {
				fmt.Fprintf(&page, "%s %s %g\n", f.GetName(), strings.Join(labels, ","), v)
			}
		}
	}
	return page.String()
}

// TestALifeOfAJob: what a live job costs is replaced with each look, survives a restart, is added to rows once when the
// job has expired, whatever is seen of it later, and the counters are the same before and after.
func TestALifeOfAJob(t *testing.T) {
	h := newHand(t)
	one, two := newJob(1, key(1), 5*time.Hour), newJob(2, key(3), 48*time.Hour)
	h.see(time.Minute, 0, map[*records.Job][]ledger.HourSpend{one: at(0, 10, 0, 0), two: at(0, 1, 0, 0)})
	h.see(time.Minute, 0, map[*records.Job][]ledger.HourSpend{one: append(at(0, 10, 2, 0), at(1, 5, 0, 3)...), two: at(13, 1, 0, 0)})
	h.see(time.Minute, 0, map[*records.Job][]ledger.HourSpend{one: nil, two: nil}) // nobody answers
	h.save(h.now)
	day := noon.Truncate(24 * time.Hour)
	spend := func(useful, repeated, lost uint64) ledger.Spend { return at(0, useful, repeated, lost)[0].Spend }
	want := []Row{
		{Day: day, Submitter: key(1), Owner: "alice", Runtime: "wasm", Spend: spend(15, 2, 3)},
		{Day: day.Add(24 * time.Hour), Submitter: key(3), Runtime: "wasm", Spend: spend(1, 0, 0)},
	}
	const page = "idlegrid_cpu_seconds_total wasm,lost 3\nidlegrid_cpu_seconds_total wasm,repeated 2\nidlegrid_cpu_seconds_total wasm,useful 16\n" +
		"idlegrid_units_total accepted 16\n"
	expect := func(when string) {
		t.Helper()
		if got := h.all(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: rows %+v, expected %+v", when, got, want)
		}
		if got := h.page(t, "idlegrid_cpu_seconds_total", "idlegrid_units_total"); got != page {
			t.Errorf("%s: counters\n%sexpected\n%s", when, got, page)
		}
	}
	h.see(settleNew, 0, map[*records.Job][]ledger.HourSpend{one: nil, two: nil})
	h.save(h.now)
	expect("live")
	h.restart()
	h.see(time.Minute, 0, map[*records.Job][]ledger.HourSpend{one: nil, two: nil})
	h.save(h.now)
	expect("restarted")
	h.see(6*time.Hour, 0, map[*records.Job][]ledger.HourSpend{two: nil})
	h.save(h.now)
	if len(h.jobs) != 1 || h.rows != 2 {
		t.Errorf("%d live jobs and %d rows of an hour", len(h.jobs), h.rows)
	}
	expect("expired")
	for range 2 {
		h.see(time.Minute, 0, map[*records.Job][]ledger.HourSpend{one: at(0, 99, 0, 0), two: nil}) // a clock went back
		h.save(h.now)
		expect("seen again")
		h.restart()
		h.see(time.Minute, 0, map[*records.Job][]ledger.HourSpend{two: nil})
		h.save(h.now)
	}
	expect("restarted at last")
}

// TestManyShards: a job's account is that of all its shards, once all were heard of.
func TestManyShards(t *testing.T) {
	h := newHand(t)
	j := newJob(1, key(1), time.Hour)
	j.Manifest.Units = 2*manifest.ShardBundles + 1
	tell := func(shards map[uint32][]ledger.HourSpend) {
		l := Look{Jobs: []records.Job{*j}, Accounts: map[jobs.ShardID][]ledger.HourSpend{}}
		for n, account := range shards {
			l.Accounts[jobs.ShardID{Job: j.ID, Shard: n}] = account
		}
		h.Saw(l, h.now)
	}
	tell(map[uint32][]ledger.HourSpend{0: at(0, 1, 0, 0), 1: at(1, 10, 0, 0)})
	if rows := h.all(); len(rows) != 0 {
		t.Errorf("two of three shards are taken for all: %+v", rows)
	}
	tell(map[uint32][]ledger.HourSpend{2: at(0, 100, 0, 0)})
	tell(map[uint32][]ledger.HourSpend{1: at(1, 20, 0, 0)})
	h.save(h.now)
	h.restart()
	tell(map[uint32][]ledger.HourSpend{1: at(1, 30, 0, 0)})
	rows := h.all()
	if len(rows) != 1 || rows[0].CPU[ledger.UsefulCPU] != 121*micro || len(h.jobs[j.ID].account) != 2 {
		t.Errorf("rows %+v", rows)
	}
}

// TestCountersNeverFall: whatever is seen, written, lost with a kill, expires or is ruled, no counter that was shown is
// lower later, and at the end those of CPU time are at least what is spent.
func TestCountersNeverFall(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		h := &hand{t: t, now: noon, log: new(bytes.Buffer)}
		h.o = Options{Path: filepath.Join(dir, fmt.Sprint(n)), Submitters: true, Owner: func(jobs.KeyID) string { return "" }, Log: slog.New(slog.DiscardHandler)}
		h.start()
		h.db.NoSync = true
		defer func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		}()
		h.settle()
		shown := map[series]uint64{}
		made := byte(0)
		live := map[*records.Job][]ledger.HourSpend{}
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0:
				made++
				j := newJob(made, key(made%3), time.Duration(rapid.IntRange(1, 30).Draw(t, "hours"))*time.Hour)
				j.Manifest.Expires = h.now.Add(j.Manifest.Expires.Sub(noon))
				live[j] = nil
			case 1, 2:
				h.save(h.now)
			case 3:
				h.restart()
				h.db.NoSync = true
				h.see(time.Second, 0, nil)
			default:
				for j := range live {
					if h.now.After(j.Manifest.Expires) {
						delete(live, j)
						continue
					}
					spent := func(what string) uint64 { return rapid.Uint64Range(0, 100).Draw(t, what) }
					live[j] = at(rapid.IntRange(0, 3).Draw(t, "hour"), spent("useful"), spent("repeated"), spent("lost"))
				}
				after := time.Duration(rapid.IntRange(1, 200).Draw(t, "minutes")) * time.Minute
				h.see(after, rapid.IntRange(0, 9).Draw(t, "cores"), live)
			}
			if now := h.shown.Load(); now != nil {
				for s, had := range shown {
					if (*now)[s] < had && !strings.HasPrefix(string(s), metricSubmitter) {
						t.Fatalf("%q fell from %d to %d", s, had, (*now)[s])
					}
				}
				shown = maps.Clone(*now)
			}
		}
		h.see(time.Hour, 0, live)
		h.save(h.now)
		var rows ledger.Spend
		for _, r := range h.all() {
			rows.Add(r.Spend)
		}
		for u := range ledger.Uses {
			if got := h.counters[seriesOf(metricCPU, ledger.Use(u).String(), "wasm")]; got < rows.CPU[u] {
				t.Fatalf("%s: counted %d, spent %d", ledger.Use(u), got, rows.CPU[u])
			}
		}
	})
}

// TestNothingIsShownTooSoon: a restart shows no counter before all that lives was looked at, or long was tried; a new file
// waits for the jobs to come back. Then what is shown is what is on disk.
func TestNothingIsShownTooSoon(t *testing.T) {
	h := newHand(t)
	j := newJob(1, key(1), 24*time.Hour)
	j.Manifest.Units = manifest.ShardBundles + 1
	see := func(after time.Duration, shards ...uint32) (shown bool) {
		h.now = h.now.Add(after)
		l := Look{Jobs: []records.Job{*j}, Accounts: map[jobs.ShardID][]ledger.HourSpend{}}
		for _, n := range shards {
			l.Accounts[jobs.ShardID{Job: j.ID, Shard: n}] = at(0, 5, 0, 0)
		}
		h.Saw(l, h.now)
		h.save(h.now)
		return h.page(t) != ""
	}
	for _, c := range []struct {
		what   string
		after  time.Duration
		shards []uint32
		want   bool
	}{
		{"new, and half was seen", time.Second, []uint32{0}, false},
		{"new, and all was seen", time.Second, []uint32{1}, false},
		{"new, and its jobs have come back by now", settleNew, nil, true},
	} {
		if got := see(c.after, c.shards...); got != c.want {
			t.Errorf("%s: shown %v", c.what, got)
		}
	}
	h.restart()
	if h.page(t) != "" || !see(time.Second) {
		t.Error("restarted with all that lives on disk: shown before a look, or not after it")
	}
	h.jobs[j.ID].account = nil // as if it had come within the last minute
	h.ready, h.jobs[j.ID].shards = false, nil
	h.shown.Store(nil)
	if see(time.Second, 0) || !see(settleMost) {
		t.Error("a shard without stewards: shown too soon, or never")
	}
	h.see(time.Second, 0, map[*records.Job][]ledger.HourSpend{j: nil})
	h.jobs[j.ID].account = at(0, 77, 0, 0)
	before := h.page(t)
	h.jobs[j.ID].dirty = true
	if got := h.page(t); got != before {
		t.Errorf("what is not on disk is shown:\n%s", got)
	}
}

// TestOffered: cores by the time between looks, in the hour of the later; not while this machine slept.
func TestOffered(t *testing.T) {
	h := newHand(t)
	h.see(0, 4, nil)
	h.see(10*time.Second, 4, nil)
	h.see(10*time.Second, 2, nil)
	h.save(h.now)
	h.see(10*time.Second, 1, nil)
	h.see(24*time.Hour, 9, nil)
	h.see(10*time.Second, 3, nil)
	day := noon.Truncate(24 * time.Hour)
	want := []Offered{{day, 70 * micro}, {day.Add(24 * time.Hour), 30 * micro}}
	for range 2 {
		got, err := h.OfferedBy(noon.Add(-time.Hour), noon.Add(100*time.Hour))
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("offered %v, %v, expected %v", got, err, want)
		}
		h.save(h.now)
	}
	h.restart()
	h.settle()
	if got := h.page(t); got != "idlegrid_offered_core_seconds_total  100\n" {
		t.Errorf("counters %s", got)
	}
	if got, err := h.OfferedBy(noon.Add(time.Hour), noon.Add(25*time.Hour)); err != nil || !slices.Equal(got, want[1:]) {
		t.Errorf("of other hours %v, %v", got, err)
	}
}

func TestRowsOfSomeAndOfSomeTime(t *testing.T) {
	h := newHand(t)
	one, two := newJob(1, key(1), 72*time.Hour), newJob(2, key(2), 72*time.Hour)
	h.see(0, 0, map[*records.Job][]ledger.HourSpend{
		one: append(at(0, 1, 0, 0), at(1, 2, 0, 0)...), two: append(at(1, 4, 0, 0), at(24, 8, 0, 0)...),
	})
	check := func(what string, since, until time.Duration, pass func(jobs.KeyID, string) bool, want uint64) {
		t.Helper()
		rows, err := h.Rows(noon.Add(since), noon.Add(until), pass)
		sum := uint64(0)
		for _, r := range rows {
			sum += r.CPU[ledger.UsefulCPU] / micro
		}
		if err != nil || sum != want {
			t.Errorf("%s: %d seconds, %v, expected %d", what, sum, err, want)
		}
	}
	for range 2 {
		check("all", 0, 100*time.Hour, everybody, 15)
		check("from the second hour on", 1, 100*time.Hour, everybody, 14)
		check("the first hour", 0, time.Hour, everybody, 1)
		check("the first hour and a bit", 0, time.Hour+1, everybody, 7)
		check("nothing", time.Hour, time.Hour, everybody, 0)
		check("by key", 0, 100*time.Hour, func(by jobs.KeyID, _ string) bool { return by == key(2) }, 12)
		check("by name", 0, 100*time.Hour, func(_ jobs.KeyID, owner string) bool { return owner == "alice" }, 3)
		h.see(100*time.Hour, 0, nil)
		h.save(h.now) // folded: all the same
	}
}

// TestBounds: rows go when they are old or too many, folded jobs when they cannot come back, and submitters without end
// have a total together.
func TestBounds(t *testing.T) {
	h := newHand(t)
	h.db.NoSync = true
	live := map[*records.Job][]ledger.HourSpend{}
	sum := uint64(0)
	for n := range maxTotals + 100 {
		j := newJob(0, jobs.KeyID(jobs.DigestOf(fmt.Append(nil, n))), time.Hour)
		j.ID = jobs.JobID(j.Manifest.Submitter)
		live[j] = at(0, uint64(n), 0, 0)
		sum += uint64(n)
	}
	h.see(time.Minute, 0, live)
	h.see(2*time.Hour, 0, nil)
	h.save(h.now)
	h.restart()
	if len(h.totals) > maxTotals+1 || len(h.folded) != len(live) || h.rows != len(live) {
		t.Errorf("%d totals, %d folded, %d rows", len(h.totals), len(h.folded), h.rows)
	}
	if got := h.totals[whose{runtime: "wasm"}].CPU[ledger.UsefulCPU]; got == 0 || got > 101*101*micro {
		t.Errorf("%d µs of those who have least", got)
	}
	h.see(0, 0, nil)
	h.settle()
	page := h.page(t, "idlegrid_submitter_cpu_seconds_total")
	if n := strings.Count(page, "\n"); n != maxShown+1 || !strings.Contains(page, "total other,") {
		t.Errorf("%d series of submitters", n)
	}
	if got := h.counters[seriesOf(metricCPU, "useful", "wasm")]; got != sum*micro {
		t.Errorf("counted %d, expected %d", got, sum*micro)
	}
	h.see(keepFolded, 0, nil)
	h.save(h.now)
	if len(h.folded) > 0 || h.rows != len(live) {
		t.Errorf("%d jobs are remembered, %d rows", len(h.folded), h.rows)
	}
	h.see(KeepRows, 0, nil)
	h.save(h.now)
	h.restart()
	if h.rows != 0 || len(h.all()) != 0 {
		t.Errorf("%d old rows", h.rows)
	}
	err := h.db.Update(func(tx *bbolt.Tx) error {
		w := writer{tx: tx}
		for hour := range uint32(10) {
			w.put(bucketRows, rowKey(hour, whose{}), nil)
		}
		if n := w.trim(bucketRows, 3, 5); n != 5 {
			t.Errorf("%d rows went", n)
		}
		if k, _ := tx.Bucket(bucketRows).Cursor().First(); !bytes.Equal(k, rowKey(5, whose{})) {
			t.Errorf("the oldest row is %x", k)
		}
		return w.err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRowsAreBounded: a question for too much is refused.
func TestRowsAreBounded(t *testing.T) {
	h := newHand(t)
	h.db.NoSync = true
	for n := range MaxRows/20 + 1 {
		var account []ledger.HourSpend
		for d := range 20 {
			account = append(account, at(24*d, 1, 0, 0)...)
		}
		h.jobs[jobs.JobID(jobs.DigestOf(fmt.Append(nil, n)))] = &job{whose: whose{jobs.KeyID(jobs.DigestOf(fmt.Append(nil, n))), "wasm"}, account: account}
	}
	if _, err := h.Rows(noon, noon.Add(math.MaxInt64/2), everybody); jobs.KindOf(err) != jobs.Exhausted {
		t.Error(err)
	}
	if rows, err := h.Rows(noon, noon.Add(24*time.Hour), everybody); err != nil || len(rows) != MaxRows/20+1 {
		t.Error(len(rows), err)
	}
}

// TestDamaged: a file that cannot be read is put aside with a warning, and another begun.
func TestDamaged(t *testing.T) {
	h := newHand(t)
	h.see(time.Minute, 0, map[*records.Job][]ledger.HourSpend{newJob(1, key(1), time.Hour): at(0, 5, 0, 0)})
	h.save(h.now)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(h.o.Path)
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	spoilt := map[string][]byte{"nonsense": bytes.Repeat([]byte("nonsense"), 4096), "short": good[:1000]}
	page := os.Getpagesize()
	for at := 0; at+page <= len(good); at += page {
		bad := bytes.Clone(good)
		for i := range page {
			bad[at+i] ^= 0x5a
		}
		spoilt[fmt.Sprintf("page %d spoilt", at/page)] = bad
		spoilt[fmt.Sprintf("cut at page %d", at/page)] = good[:at]
	}
	for name, content := range spoilt {
		h.log.Reset()
		if err := os.WriteFile(h.o.Path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		h.start()
		if h.log.Len() > 0 {
			refused++
			kept, err := os.ReadFile(h.o.Path + aside)
			if err != nil || !bytes.Equal(kept, content) || !h.made || len(h.jobs) > 0 {
				t.Errorf("%s: %d of %d bytes are aside, %v, the new file has %d jobs", name, len(kept), len(content), err, len(h.jobs))
			}
		}
		h.save(h.now)
		if h.failing {
			t.Errorf("%s: %s", name, h.log)
		}
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if refused < 4 {
		t.Errorf("%d of %d damaged files were found", refused, len(spoilt))
	}
	h.start()
}

// TestFailingDisk: what could not be written is tried again, warned of once, and not shown.
func TestFailingDisk(t *testing.T) {
	h := newHand(t)
	h.settle()
	h.see(time.Minute, 3, map[*records.Job][]ledger.HourSpend{newJob(1, key(1), time.Hour): at(0, 5, 0, 0)})
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.save(h.now)
	}
	if n := strings.Count(h.log.String(), "cannot write the accounts"); n != 1 || h.page(t) != "" {
		t.Errorf("%d warnings, and shown:\n%s", n, h.page(t))
	}
	db, err := bbolt.Open(h.o.Path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.db = db
	h.save(h.now)
	if got := h.page(t, "idlegrid_cpu_seconds_total", "idlegrid_offered_core_seconds_total"); got != "idlegrid_cpu_seconds_total wasm,useful 5\nidlegrid_offered_core_seconds_total  180\n" {
		t.Errorf("shown later:\n%s", got)
	}
}

func TestLint(t *testing.T) {
	h := newHand(t)
	h.settle()
	problems, err := testutil.CollectAndLint(h.Book)
	if err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
}

func TestName(t *testing.T) {
	id := key(1)
	for want, is := range map[string]struct {
		by    jobs.KeyID
		owner string
	}{
		"alice": {id, "alice"}, id.Short(): {id, id.String()}, key(2).Short(): {key(2), ""}, "other": {},
	} {
		if got := Name(is.by, is.owner); got != want {
			t.Errorf("%s %q: %q, expected %q", is.by.Short(), is.owner, got, want)
		}
	}
}
