package ledger_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// The small world of these tests: a shard in the middle of a job, whose last bundle is short.
const (
	firstUnit  = 12
	nUnits     = 11
	bundleSize = 3
	nBundles   = 4
)

var (
	theJob    = jobs.JobID(jobs.DigestOf([]byte("job")))
	submitter = jobs.KeyID(jobs.DigestOf([]byte("submitter")))
	expires   = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	created   = expires.Add(-3 * time.Hour)
	before    = expires.Add(-time.Hour)
)

func terms(quorum, retries uint32) ledger.Terms {
	return ledger.Terms{
		Job: theJob, Submitter: submitter, Shard: 1, First: firstUnit, Units: nUnits, Bundle: bundleSize,
		Quorum: quorum, Retries: retries, Created: created, Expires: expires,
	}
}

func agent(name string) jobs.AgentID        { return jobs.AgentID(jobs.DigestOf([]byte("agent " + name))) }
func outcome(name string) jobs.Digest       { return jobs.DigestOf([]byte("outcome " + name)) }
func reportID(r *record.Report) jobs.Digest { return jobs.DigestOf(r.Encode()) }

// said is one thing that a ledger may be told. Exactly one of its fields is set.
type said struct {
	report *record.Report
	owner  string
	ruling *record.Ruling
	revoke *jobs.AgentID
	cancel bool
	seal   bool
}

func (s said) tell(l *ledger.Ledger) error {
	switch {
	case s.report != nil:
		_, err := l.AddReport(reportID(s.report), s.report, s.owner)
		return err
	case s.ruling != nil:
		l.AddRuling(jobs.DigestOf(s.ruling.Encode()), s.ruling)
	case s.revoke != nil:
		l.Revoke(*s.revoke)
	case s.cancel:
		l.Cancel()
	case s.seal:
		l.Seal()
	}
	return nil
}

// told returns a ledger that was told all of these.
func told(t interface{ Fatal(args ...any) }, terms ledger.Terms, all []said) *ledger.Ledger {
	l := ledger.New(terms)
	for _, s := range all {
		if err := s.tell(l); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// reportOf makes a report about one unit; a failed one if outcome is empty.
func reportOf(by string, unit uint64, attempt uint32, what string) *record.Report {
	u := record.UnitReport{Unit: unit, Times: jobs.Times{CPU: time.Second, Wall: 2 * time.Second}}
	if what == "" {
		u.Failure = jobs.Failure{Kind: jobs.FailureTrap, Text: fmt.Sprintf("%s in attempt %d", by, attempt)}
	} else {
		u.Outcome = outcome(what)
	}
	return &record.Report{
		Job: theJob, Shard: 1, Author: agent(by), Runtime: "r 1", Platform: "linux/amd64",
		Pack:    jobs.Blob{Digest: jobs.DigestOf([]byte("pack")), Size: 4},
		Bundles: []record.BundleReport{{Bundle: unit / bundleSize, Attempt: attempt, Units: []record.UnitReport{u}}},
	}
}

// on returns the report as one from another platform.
func on(platform string, r *record.Report) *record.Report {
	r.Platform = platform
	return r
}

func by(owner string, r *record.Report) said { return said{report: r, owner: owner} }

// drawTerms draws the terms of the small world.
func drawTerms(t *rapid.T) ledger.Terms {
	return terms(uint32(rapid.IntRange(0, 3).Draw(t, "quorum")), uint32(rapid.IntRange(0, 2).Draw(t, "retries")))
}

// drawSaid draws what may happen in a grid with failing, disagreeing, lying and revoked agents.
func drawSaid(t *rapid.T) []said {
	one := rapid.Custom(func(t *rapid.T) said {
		switch rapid.IntRange(0, 19).Draw(t, "kind") {
		case 0:
			return said{ruling: drawRuling(t)}
		case 1:
			id := agent(fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "revoked")))
			return said{revoke: &id}
		case 2:
			return rapid.SampledFrom([]said{{cancel: true}, {seal: true}, {revoke: &submitter}, {}, {}, {}, {}, {}}).Draw(t, "end")
		default:
			return drawReport(t)
		}
	})
	return rapid.SliceOfN(one, 0, 30).Draw(t, "said")
}

func drawRuling(t *rapid.T) *record.Ruling {
	r := &record.Ruling{Job: theJob, Sequence: rapid.Uint64Range(0, 2).Draw(t, "sequence")}
	for unit := uint64(firstUnit - 1); unit <= firstUnit+nUnits; unit++ { // one too far on both sides
		if rapid.Bool().Draw(t, "ruled") {
			r.Units = append(r.Units, record.RuledUnit{Unit: unit, Outcome: outcome(rapid.SampledFrom(outcomes).Draw(t, "outcome"))})
		}
	}
	return r
}

var outcomes = []string{"a", "a", "a", "b", "c"}

func drawReport(t *rapid.T) said {
	who := rapid.IntRange(0, 5).Draw(t, "agent")
	r := &record.Report{
		Job: theJob, Shard: 1, Author: agent(fmt.Sprint(who)), Counter: rapid.Uint64Range(0, 3).Draw(t, "counter"),
		Runtime: rapid.SampledFrom([]string{"r 1", "r 2"}).Draw(t, "runtime"), Platform: "linux/amd64",
		Pack: jobs.Blob{Digest: jobs.DigestOf([]byte("pack")), Size: 4}, Hour: drawHour(t),
		Lost: drawMillis(t, "lost"), Overhead: drawMillis(t, "overhead"),
	}
	for unit := uint64(firstUnit); unit < firstUnit+nUnits; unit++ {
		if rapid.IntRange(0, 9).Draw(t, "lost") == 0 {
			r.LostRuns = append(r.LostRuns, record.LostRun{
				Unit: unit, Attempt: uint32(rapid.IntRange(0, 2).Draw(t, "attempt")),
				CPU: drawMillis(t, "cpu"), Lineage: drawLineage(t), Kept: drawMillis(t, "kept"),
			})
		}
	}
	least := 1
	if r.Lost+r.Overhead > 0 || len(r.LostRuns) > 0 {
		least = 0
	}
	for range rapid.IntRange(least, 3).Draw(t, "bundles") {
		r.Bundles = append(r.Bundles, drawBundle(t))
	}
	if len(r.Bundles) == 0 {
		r.Pack = jobs.Blob{}
	}
	// Now and then one machine has a second certificate, with another owner.
	owner := fmt.Sprint("owner ", (who+rapid.SampledFrom([]int{0, 0, 0, 0, 0, 1}).Draw(t, "moved"))/2)
	if r.Check() != nil { // names a unit twice in an attempt
		r.Bundles = r.Bundles[:1]
	}
	return by(owner, r)
}

// drawHour draws one of the job's life, or near it, or far from it.
func drawHour(t *rapid.T) uint32 {
	from := record.HourOf(created)
	return rapid.OneOf(rapid.Uint32Range(from-3, from+6), rapid.SampledFrom([]uint32{0, math.MaxUint32})).Draw(t, "hour")
}

func drawLineage(t *rapid.T) (l record.Lineage) {
	for cpu := time.Duration(0); rapid.IntRange(0, 2).Draw(t, "more") == 0; {
		cpu += time.Duration(rapid.IntRange(1, 4).Draw(t, "before")) * time.Millisecond
		l = l.After(agent(fmt.Sprint(rapid.IntRange(0, 5).Draw(t, "from"))), cpu)
	}
	return l
}

func drawMillis(t *rapid.T, what string) time.Duration {
	return time.Duration(rapid.IntRange(0, 9).Draw(t, what)) * time.Millisecond
}

func drawBundle(t *rapid.T) record.BundleReport {
	b := record.BundleReport{
		Bundle:  firstUnit/bundleSize + rapid.Uint64Range(0, nBundles-1).Draw(t, "bundle"),
		Attempt: uint32(rapid.IntRange(0, 3).Draw(t, "attempt")),
	}
	first := b.Bundle * bundleSize
	last := min(first+bundleSize, firstUnit+nUnits)
	for unit := first + rapid.Uint64Range(0, last-first-1).Draw(t, "skipped"); unit < last; unit++ {
		u := record.UnitReport{Unit: unit, Times: jobs.Times{CPU: drawMillis(t, "cpu")}, Lineage: drawLineage(t)}
		if rapid.IntRange(0, 2).Draw(t, "failed") == 0 {
			u.Failure = jobs.Failure{Kind: jobs.FailureExit, Text: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "text")}
		} else {
			u.Outcome = outcome(rapid.SampledFrom(outcomes).Draw(t, "outcome"))
		}
		b.Units = append(b.Units, u)
	}
	return b
}

// view is all that a ledger shows, to be compared as a whole.
type view struct {
	units    []ledger.Unit
	counts   []ledger.Counts
	open     [][]uint64
	attempts []uint32
	failedBy [][]jobs.AgentID
	account  []ledger.HourSpend
	next     []string
}

func viewOf(l *ledger.Ledger) view {
	v := view{account: l.Account()}
	for _, now := range []time.Time{before, expires.Add(1)} {
		for unit := uint64(firstUnit); unit < firstUnit+nUnits; unit++ {
			v.units = append(v.units, l.Unit(unit, now))
		}
		v.counts = append(v.counts, l.Counts(now))
		for bundle := uint64(firstUnit/bundleSize) - 1; bundle <= firstUnit/bundleSize+nBundles; bundle++ {
			next, ok := l.NextOpen(bundle, now)
			v.next = append(v.next, fmt.Sprint(next, ok))
			v.open = append(v.open, l.OpenUnits(bundle, now))
			v.attempts = append(v.attempts, l.Attempt(bundle))
			v.failedBy = append(v.failedBy, l.FailedBy(bundle))
		}
	}
	return v
}

// wantStatus fails unless a unit has the status, and returns the unit.
func wantStatus(t *testing.T, l *ledger.Ledger, unit uint64, want ledger.Status) ledger.Unit {
	t.Helper()
	u := l.Unit(unit, before)
	if u.Status != want {
		t.Fatalf("unit %d is %v, expected %v: %+v", unit, u.Status, want, u)
	}
	return u
}
