package records_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// shown is all that a store shows of a job.
type shown struct {
	common, reports []jobs.Digest
	digests         [2]jobs.Digest
	units           []ledger.Unit
	offers          []records.Offer
}

func (j *theJob) shown(s *records.Store) shown {
	j.t.Helper()
	v := shown{common: s.IDs(records.Scope{}), reports: s.IDs(j.reports(0)), units: j.units(s, 0)}
	v.digests = [2]jobs.Digest{s.Digest(records.Scope{}), s.Digest(j.reports(0))}
	for _, id := range slices.Concat(v.common, v.reports) {
		o, err := s.Get(id)
		if err != nil {
			j.t.Fatal(err)
		}
		v.offers = append(v.offers, o)
	}
	return v
}

func copyFile(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	r, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }() // only read
	w, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}

// P12: what Add returned is on disk. Whoever takes the file as it is at that moment, as a power cut would leave
// it, finds everything; and so does the next start.
func TestAcknowledgedIsOnDisk(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	s := w.open(o)
	j := w.job()
	out := jobs.DigestOf([]byte("outcome"))
	steps := [][]records.Offer{
		{j.offer},
		{j.offered(j.report()), j.offered(j.report(j.about(failure(3), 0)))},
		{j.offered(j.report(j.about(failure(3), 1), by(w.agents[1])))},
		{j.ruling(7, record.RuledUnit{Unit: 0, Outcome: out}), j.bare(j.report(by(w.agents[3])))},
		{j.seal()},
	}
	for i, step := range steps {
		w.add(s, step...)
		want := j.shown(s)
		o := o
		o.Path = copyFile(t, o.Path)
		cut := w.open(o)
		if got := j.shown(cut); !reflect.DeepEqual(got, want) {
			t.Fatalf("step %d: the file of a store that was not closed shows\n%+v, expected\n%+v", i, got, want)
		}
		if cut.Boot() <= s.Boot() || cut.Authors() != s.Authors() {
			t.Errorf("step %d: boot %d with %d authors, expected more than %d with %d", i, cut.Boot(), cut.Authors(), s.Boot(), s.Authors())
		}
	}
	want := j.shown(s)
	if n := len(want.common) + len(want.reports); n != 7 {
		t.Fatalf("%d records are kept, expected 7", n)
	}
	for range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = w.open(o)
		if got := j.shown(s); !reflect.DeepEqual(got, want) {
			t.Fatalf("opened again it shows\n%+v, expected\n%+v", got, want)
		}
	}
	if job, err := s.Job(j.id); err != nil || !job.Fresh.IsZero() {
		t.Errorf("after a restart nobody has just handed the job over: %v, %v", job.Fresh, err)
	}
}

func TestSecondOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		w.open(o)
		start := time.Now()
		_, err := records.Open(o)
		if jobs.KindOf(err) != jobs.Exists || jobs.HintOf(err) == "" {
			t.Errorf("a second store on one file: %v, hint %q", err, jobs.HintOf(err))
		}
		if took := time.Since(start); took > 1500*time.Millisecond {
			t.Errorf("it took %s", took)
		}
	})
}

func TestDamagedFile(t *testing.T) {
	w := newWorld(t)
	j := w.job()
	key := append(append(bytes.Clone(j.id[:]), 1, 0, 0, 0, 0), j.id[:]...)
	for name, damage := range map[string]struct {
		bucket     string
		key, value []byte
	}{
		"a record that is none":      {"records", key, []byte{1, 2, 3}},
		"an empty record":            {"records", key, []byte{}},
		"a record under another key": {"records", binary.BigEndian.AppendUint32(nil, 7), nil},
		"a chain that is none":       {"chains", []byte("x"), []byte{1}},
		"an empty chain":             {"chains", []byte("x"), []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			o := w.options()
			s := w.open(o)
			w.add(s, j.offer)
			err := s.DB().Update(func(tx *bbolt.Tx) error {
				b := tx.Bucket([]byte(damage.bucket))
				if damage.value == nil {
					damage.value = bytes.Clone(b.Get(key))
				}
				return b.Put(damage.key, damage.value)
			})
			if err != nil || s.Close() != nil {
				t.Fatal(err)
			}
			_, err = records.Open(o)
			if jobs.KindOf(err) != jobs.Corrupt || jobs.HintOf(err) == "" {
				t.Errorf("opened with %v, hint %q", err, jobs.HintOf(err))
			}
		})
	}
	o := w.options()
	if err := os.WriteFile(o.Path, bytes.Repeat([]byte("no database "), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := records.Open(o); jobs.KindOf(err) != jobs.Corrupt || jobs.HintOf(err) == "" {
		t.Errorf("a file that is no database opens with %v, hint %q", err, jobs.HintOf(err))
	}
}

// TestDamagedPages spoils each page of a file in turn, and cuts the file off there: the store opens, or says that
// it cannot, and never takes its process down.
func TestDamagedPages(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	s := w.open(o)
	w.add(s, w.job().offer)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(o.Path)
	if err != nil {
		t.Fatal(err)
	}
	refused, page := 0, os.Getpagesize()
	for at := 0; at < len(whole); at += page {
		spoilt := slices.Concat(whole[:at], bytes.Repeat([]byte{0xa5}, page), whole[at+page:])
		for _, content := range [][]byte{spoilt, whole[:at]} {
			o.Path = filepath.Join(t.TempDir(), "records.db")
			if err := os.WriteFile(o.Path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := records.Open(o)
			if err == nil {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
				continue
			}
			refused++
			if jobs.KindOf(err) != jobs.Corrupt || jobs.HintOf(err) == "" {
				t.Errorf("page %d: %v, hint %q", at/page, err, jobs.HintOf(err))
			}
		}
	}
	if refused < 3 {
		t.Errorf("only %d of the damaged files were refused", refused)
	}
}

// TestInUse: a file is in use while a store has it open, and not when it is missing, empty or damaged: whoever looks
// at a state folder must get on.
func TestInUse(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	check := func(what string, want bool) {
		t.Helper()
		if got, err := records.InUse(o.Path); got != want || err != nil {
			t.Errorf("%s: in use %v (%v)", what, got, err)
		}
	}
	check("missing", false)
	for what, content := range map[string][]byte{"empty": {}, "damaged": make([]byte, 1<<16)} {
		if err := os.WriteFile(o.Path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		check(what, false)
	}
	if err := os.Remove(o.Path); err != nil {
		t.Fatal(err)
	}
	s := w.open(o)
	check("open", true)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check("closed", false)
}

// Each start has a higher number than all before: also right after the last, with a clock that went back, from a
// copy made long ago, and from nothing.
func TestBoot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		last := uint64(0)
		start := func(what string) {
			t.Helper()
			s := w.open(o)
			if s.Boot() <= last || s.Boot() > 1<<32 {
				t.Errorf("%s: boot %d after %d", what, s.Boot(), last)
			}
			last = s.Boot()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		start("the first")
		old := copyFile(t, o.Path)
		start("at once")
		start("at once, again")
		time.Sleep(time.Hour)
		start("an hour later")
		time.Sleep(time.Second)
		o.Path = old
		start("from a copy")
		time.Sleep(time.Second)
		o = w.options()
		start("from nothing")
		last += 1 << 20
		records.SetBoot(t, o.Path, last)
		start("with a clock that went back")
	})
}

// A start with a clock that is ahead deletes nothing, however far: with the right one all is there again, after
// another start or at the next sweep.
func TestWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		s := w.open(o)
		// The bubble's clock cannot go back: the right one is the time that Sweep is told.
		j := w.job(func(m *manifest.Manifest) { m.Expires = m.Created.Add(time.Hour) })
		stays := w.job()
		w.add(s, j.offer, stays.offer, j.offered(j.report()), stays.offered(stays.report()), j.seal())
		want := j.shown(s)
		shown := func() int { return len(s.IDs(j.reports(0))) + len(s.IDs(records.Scope{})) }
		ahead := j.manifest.Expires.Add(ledger.Skew + time.Second)
		if ended, deleted, err := s.Sweep(ahead); err != nil || len(ended) != 1 || len(deleted) != 0 || shown() != 1 {
			t.Errorf("with a clock ahead: ended %v, deleted %v, %v, %d records shown", ended, deleted, err, shown())
		}
		if !s.Keeps(j.id) {
			t.Error("the job that ended is not kept")
		}
		if _, _, err := s.Sweep(time.Now()); err != nil || !reflect.DeepEqual(j.shown(s), want) {
			t.Errorf("with the right clock again: %v, %d records shown, expected 4", err, shown())
		}
		if used, n := s.Used(j.shard(0), w.agents[0].ID()); used != 1 || n != 3 {
			t.Errorf("%d units in %d accounts", used, n)
		}
		restart := func() {
			t.Helper()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = w.open(o)
		}
		time.Sleep(time.Until(ahead.Add(-time.Second)))
		if restart(); shown() != 4 {
			t.Errorf("%d records are shown ten minutes after the expiry, expected 4", shown())
		}
		time.Sleep(time.Second)
		if restart(); shown() != 1 || !s.Keeps(j.id) {
			t.Errorf("%d records are shown later, expected 1", shown())
		}
		time.Sleep(2 * records.KeepEnded)
		restart()
		if ended, deleted, err := s.Sweep(time.Now()); err != nil || len(ended)+len(deleted) > 0 || !s.Keeps(j.id) {
			t.Errorf("right after the start: ended %v, deleted %v, %v", ended, deleted, err)
		}
		if _, _, err := s.Sweep(j.manifest.Expires); err != nil || shown() != 4 {
			t.Errorf("with the right clock at last: %v, %d records shown, expected 4", err, shown())
		}
	})
}

// onlyOf fails if the file holds records of other jobs.
func onlyOf(t *testing.T, s *records.Store, j *theJob) {
	t.Helper()
	err := s.DB().View(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("records")).ForEach(func(k, _ []byte) error {
			if !bytes.HasPrefix(k, j.id[:]) {
				t.Errorf("a record of a job that is over is on disk: %x", k)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
}

// Sweep hides a job ten minutes after its expiry, deletes it days later, and leaves the others alone.
func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		s := w.open(o)
		j := w.job(func(m *manifest.Manifest) { m.Expires = m.Created.Add(time.Hour) })
		stays := w.job(func(m *manifest.Manifest) { m.Expires = m.Created.Add(2 * records.KeepEnded) })
		w.add(s, j.offer, stays.offer)
		w.add(s, j.offered(j.report()), j.ruling(1, record.RuledUnit{}), j.seal(), stays.offered(stays.report()), stays.seal())
		want := stays.units(s, 0)
		sweep := func(after time.Duration, wantEnded, wantFree []jobs.JobID) {
			t.Helper()
			ended, free, err := s.Sweep(j.manifest.Expires.Add(after))
			slices.SortFunc(ended, byID)
			slices.SortFunc(free, byID)
			if err != nil || !slices.Equal(ended, wantEnded) || !slices.Equal(free, wantFree) {
				t.Errorf("sweep %s after the expiry: ended %v, free %v, %v", after, ended, free, err)
			}
		}
		this, sealed := []jobs.JobID{j.id}, []jobs.JobID{j.id, stays.id}
		slices.SortFunc(sealed, byID)
		sweep(ledger.Skew, sealed, sealed)
		sweep(ledger.Skew+1, this, nil)
		if _, err := s.Get(jobs.Digest(j.id)); jobs.KindOf(err) != jobs.NotFound {
			t.Errorf("a manifest that was swept: %v", err)
		}
		if err := s.WithLedger(j.shard(0), func(*ledger.Ledger) {}); jobs.KindOf(err) != jobs.NotFound {
			t.Errorf("a ledger that was swept: %v", err)
		}
		if _, n := s.Used(j.shard(0), w.agents[0].ID()); n != 2 {
			t.Errorf("%d accounts are left, expected 2", n)
		}
		sweep(records.KeepEnded, nil, nil)
		sweep(records.KeepEnded+1, nil, this)
		if s.Keeps(j.id) || !s.Keeps(stays.id) {
			t.Error("the wrong job is kept")
		}
		onlyOf(t, s, stays)
		left := func() {
			t.Helper()
			if n := len(s.IDs(records.Scope{})); n != 2 || s.Digest(j.reports(0)) != jobs.DigestOf(nil) {
				t.Errorf("%d records of all jobs are left, expected 2", n)
			}
			if got := stays.units(s, 0); !reflect.DeepEqual(got, want) {
				t.Errorf("the other job shows %+v, expected %+v", got, want)
			}
			if own := s.OwnShards(); !slices.Equal(own, []jobs.ShardID{stays.shard(0)}) {
				t.Errorf("own shards are %v", own)
			}
		}
		left()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = w.open(o)
		left()
	})
}

func byID(a, b jobs.JobID) int { return jobs.Digest(a).Compare(jobs.Digest(b)) }

// P5: the blobs of a job may go an hour after this process learned that it was cancelled or sealed; the first
// word counts, and all records stay.
func TestP5SweepOfEndedJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.options()
		s := w.open(o)
		sealed, cancelled, live := w.job(), w.job(), w.job()
		w.add(s, sealed.offer, cancelled.offer, live.offer, sealed.offered(sealed.report()))
		expect := func(when string, want ...jobs.JobID) {
			t.Helper()
			ended, free, err := s.Sweep(time.Now())
			if err != nil || !slices.Equal(free, want) || len(ended) != len(want) {
				t.Errorf("%s: ended %v, free %v, %v", when, ended, free, err)
			}
		}
		w.add(s, sealed.seal())
		time.Sleep(30 * time.Minute)
		w.add(s, cancelled.cancelByOperator(), sealed.cancel())
		expect("half an hour later")
		time.Sleep(30*time.Minute - time.Second)
		expect("a second before the hour is over")
		time.Sleep(time.Second)
		expect("an hour later", sealed.id)
		expect("once only")
		if n := len(s.IDs(records.Scope{})) + len(s.IDs(sealed.reports(0))); n != 7 {
			t.Errorf("%d records are left, expected 7", n)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = w.open(o)
		time.Sleep(40 * time.Minute)
		expect("the time starts anew with the process")
		time.Sleep(20 * time.Minute)
		if _, free, err := s.Sweep(time.Now()); err != nil || len(free) != 2 {
			t.Errorf("an hour after the restart: free %v, %v", free, err)
		}
		for _, j := range []*theJob{sealed, cancelled, live} {
			if err := s.Runnable(j.id); (err == nil) != (j == live) || err != nil && jobs.KindOf(err) != jobs.Expired {
				t.Errorf("runnable: %v", err)
			}
		}
	})
}

// What was written while its job was swept does not stay on disk for ever.
func TestLeftoversAreForgottenAtStart(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	s := w.open(o)
	j, stays := w.job(), w.job()
	w.add(s, j.offer, stays.offer, j.offered(j.report()), j.offered(j.report()), j.seal())
	err := s.DB().Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("records")).Delete(append(append(bytes.Clone(j.id[:]), 1, 0, 0, 0, 0), j.id[:]...))
	})
	if err != nil || s.Close() != nil {
		t.Fatal(err)
	}
	s = w.open(o)
	onlyOf(t, s, stays)
	if _, n := s.Used(j.shard(0), w.agents[0].ID()); n != 0 {
		t.Errorf("%d accounts of a job that is gone", n)
	}
}

func TestJobs(t *testing.T) {
	w := newWorld(t)
	s := w.store()
	older := w.job(func(m *manifest.Manifest) { m.Created = m.Created.Add(-time.Hour) })
	cancelled, sealed, newest := w.job(), w.job(), w.job(func(m *manifest.Manifest) { m.Created = m.Created.Add(time.Second) })
	w.add(s, newest.offer, cancelled.offer, sealed.offer, older.offer, cancelled.cancel(), sealed.seal())
	ids := func(runnable bool) (ids []jobs.JobID) {
		for _, j := range s.Jobs(runnable) {
			ids = append(ids, j.ID)
		}
		return ids
	}
	if got := ids(true); !slices.Equal(got, []jobs.JobID{older.id, newest.id}) {
		t.Errorf("runnable jobs are %v", got)
	}
	if got := ids(false); len(got) != 4 || got[0] != older.id || got[3] != newest.id {
		t.Errorf("live jobs are %v", got)
	}
}
