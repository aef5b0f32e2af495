package records_test

import (
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

// drawRecords draws what may be said of a job by failing and disagreeing agents and its submitter.
func drawRecords(t *rapid.T, j *theJob) []records.Offer {
	outcome := func(t *rapid.T) jobs.Digest {
		return jobs.DigestOf([]byte(rapid.SampledFrom([]string{"a", "a", "b"}).Draw(t, "outcome")))
	}
	one := rapid.Custom(func(t *rapid.T) records.Offer {
		unit := rapid.Uint64Range(0, j.manifest.Units-1).Draw(t, "unit")
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			return j.ruling(rapid.Uint64Range(0, 2).Draw(t, "sequence"), record.RuledUnit{Unit: unit, Outcome: outcome(t)})
		case 1:
			return rapid.SampledFrom([]func() records.Offer{j.cancel, j.cancelByOperator, j.seal, j.again, j.again, j.again}).Draw(t, "end")()
		}
		u := failure(unit)
		if rapid.IntRange(0, 2).Draw(t, "success") > 0 {
			u = success(unit)
			u.Outcome = outcome(t)
		}
		author := rapid.SampledFrom(j.agents[:3]).Draw(t, "author")
		return j.offered(j.report(j.about(u, uint32(rapid.IntRange(0, 3).Draw(t, "attempt"))), by(author)))
	})
	return append(rapid.SliceOfN(one, 1, 12).Draw(t, "records"), j.offer)
}

// again is the manifest.
func (j *theJob) again() records.Offer { return j.offer }

// tell offers the records in some order, in parts, some twice, and those again that were refused for now.
func tell(t *rapid.T, j *theJob, s *records.Store, all []records.Offer, label string) {
	rest := append(rapid.Permutation(all).Draw(t, label), rapid.SampledFrom(all).Draw(t, label+" twice"))
	for round := 0; len(rest) > 0; round++ {
		if round > 3*len(all) {
			t.Fatalf("%s: %d records are refused for ever", label, len(rest))
		}
		n := rapid.IntRange(1, len(rest)).Draw(t, label+" part")
		part := rest[:n]
		rest = rest[n:]
		_, refused, err := s.Add(j.t.Context(), part, rapid.Bool().Draw(t, "fresh"))
		if err != nil {
			t.Fatal(err)
		}
		again := map[jobs.Digest]bool{}
		for _, r := range refused {
			if r.Final {
				t.Fatalf("%s: %+v", label, r)
			}
			again[r.ID] = true
		}
		for _, o := range part {
			if again[o.Envelope.ID()] {
				rest = append(rest, o)
			}
		}
	}
}

// view is all that a store shows of a job of two shards.
func (j *theJob) view(t *rapid.T, s *records.Store) (view []any) {
	for n := range j.manifest.Shards() {
		err := s.WithLedger(j.shard(n), func(l *ledger.Ledger) {
			now := time.Now()
			first, n := l.Units()
			for u := first; u < first+n; u++ {
				if v := l.Unit(u, now); v.Attempts > 0 || u == first {
					view = append(view, v)
				}
			}
			view = append(view, l.Counts(now))
		})
		if err != nil {
			t.Fatal(err)
		}
		view = append(view, s.Digest(j.reports(n)), s.IDs(j.reports(n)))
	}
	return append(view, s.Digest(records.Scope{}), s.IDs(records.Scope{}), len(s.Jobs(true)), len(s.Jobs(false)))
}

// noDeadline hides a test's deadline from rapid: it may not be asked for in virtual time.
type noDeadline struct{ testing.TB }

// P2: the same records show the same, whatever the order in which stores learned them, and in how many parts;
// and again after a restart.
func TestAnyOrderGivesTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		j := w.job(func(m *manifest.Manifest) { m.Units, m.Bundle = 6, 2 })
		n := 0
		rapid.Check(noDeadline{t}, func(t *rapid.T) {
			all := drawRecords(t, j)
			n++
			var want []any
			for i := range 2 {
				o := w.options()
				o.Path += fmt.Sprint(n, i)
				o.Reader = true // without waiting for the disk
				s, err := records.Open(o)
				if err != nil {
					t.Fatal(err)
				}
				tell(t, j, s, all, fmt.Sprint("store ", i))
				got := j.view(t, s)
				if want != nil && !reflect.DeepEqual(got, want) {
					t.Errorf("the second store shows\n%+v, the first\n%+v", got, want)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = records.Open(o); err != nil {
					t.Fatal(err)
				}
				if again := j.view(t, s); !reflect.DeepEqual(got, again) {
					t.Errorf("after a restart it shows\n%+v, before\n%+v", again, got)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				want = got
			}
		})
	})
}
