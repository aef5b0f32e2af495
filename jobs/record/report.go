package record

import (
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// Report is what one agent signs about units that it finished or failed, and about CPU time that came to nothing.
type Report struct {
	Job      jobs.JobID
	Shard    uint32
	Author   jobs.AgentID
	Counter  uint64         // counts the author's reports, so that no two of them have equal bytes
	Runtime  string         // name and version of what ran the units, such as "wazero 1.12.0"
	Platform string         // operating system and processor, such as "linux/amd64"
	Pack     jobs.Blob      // zero where no unit has an outcome
	Bundles  []BundleReport // none where the agent leaves the shard, and what follows is in no report yet
	// Since the author's report before for this shard: runs that ended without a result, and from whose checkpoints others
	// can go on; CPU time, in whole microseconds, of other runs that did; and that of the agent itself while it held work.
	LostRuns       []LostRun
	Lost, Overhead time.Duration
	Hour           uint32 // since 1970, when this was signed, by the author's clock
}

// LostRun is a run of a unit that ended without a result.
type LostRun struct {
	Unit    uint64
	Attempt uint32
	CPU     time.Duration // of this run, in whole microseconds
	Lineage Lineage
	Kept    time.Duration // CPU time of the unit at the newest checkpoint of this run, in whole milliseconds
}

// HourOf returns the hour of a moment as reports name it.
func HourOf(t time.Time) uint32 { return uint32(max(0, t.Unix()) / 3600) }

// BundleReport is about units of one bundle, from one attempt. It need not name all units of the bundle, and
// a report may hold several about one bundle.
type BundleReport struct {
	Bundle  uint64
	Attempt uint32 // counts the leases that ended in failure before this one
	Units   []UnitReport
}

// UnitReport is how one unit ended.
type UnitReport struct {
	Unit    uint64
	Outcome jobs.Digest  // of a failed unit, what it wrote until then; zero if nothing of it was kept
	Failure jobs.Failure // zero: the unit succeeded
	Times   jobs.Times   // of this run; travels in whole microseconds
	Lineage Lineage
}

// Check returns an error if the report is beyond a bound, and thus would be refused by every peer. A writer
// with more to say splits it.
func (r *Report) Check() error {
	if err := r.check(); err != nil {
		return err
	}
	if n := proto.Size(r.proto()); n > MaxPayload {
		return jobs.Errorf(jobs.Invalid, "report of %d bytes, expected at most %d", n, MaxPayload)
	}
	return nil
}

// Encode returns the payload of a report that Check finds nothing wrong with.
func (r *Report) Encode() []byte { return marshal(r.proto()) }

// DecodeReport reads a report's payload. Whether its job, shard, bundles and units exist is for those to say
// who know the manifest.
func DecodeReport(b []byte) (*Report, error) {
	var p gridv1.Report
	if err := unmarshal("report", b, &p, MaxPayload); err != nil {
		return nil, err
	}
	if b, l := len(p.GetBundles()), len(p.GetLost()); b > MaxReportBundles || l > MaxLostRuns { // before anything is allocated for them
		return nil, jobs.Errorf(jobs.Invalid, "report: %d bundles and %d runs without a result, expected at most %d and %d", b, l, MaxReportBundles, MaxLostRuns)
	}
	r, err := reportFromProto(&p)
	if err != nil {
		return nil, jobs.Errorf(jobs.Invalid, "report: %w", err)
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	return r, nil
}

// check looks at everything but the size in bytes.
func (r *Report) check() error {
	type run struct {
		unit    uint64
		attempt uint32
	}
	seen, kept := map[run]bool{}, false
	for i := range r.Bundles {
		b := &r.Bundles[i]
		if len(b.Units) == 0 || b.Attempt > MaxAttempt {
			return jobs.Errorf(jobs.Invalid, "report: bundle %d: %d units of attempt %d, expected at least one, and an attempt up to %d",
				b.Bundle, len(b.Units), b.Attempt, MaxAttempt)
		}
		for j := range b.Units {
			u := &b.Units[j]
			if err := u.check(); err != nil {
				return err
			}
			if seen[run{u.Unit, b.Attempt}] {
				return jobs.Errorf(jobs.Invalid, "report: unit %d twice in attempt %d", u.Unit, b.Attempt)
			}
			seen[run{u.Unit, b.Attempt}] = true
			kept = kept || !u.Outcome.IsZero()
		}
	}
	if err := r.checkLost(); err != nil {
		return err
	}
	return r.checkHead(len(seen), kept)
}

// checkLost looks at the runs that ended without a result.
func (r *Report) checkLost() error {
	if n := len(r.LostRuns); n > MaxLostRuns {
		return jobs.Errorf(jobs.Invalid, "report: %d runs without a result, expected at most %d", n, MaxLostRuns)
	}
	seen := map[[2]uint64]bool{}
	for _, l := range r.LostRuns {
		const most = MaxUnitMicros * time.Microsecond
		if l.Attempt > MaxAttempt || min(l.CPU, l.Kept) < 0 || max(l.CPU, l.Kept) > most {
			return jobs.Errorf(jobs.Invalid, "report: run without a result of unit %d: attempt %d, %s of CPU and a checkpoint at %s, expected at most %d and %s each",
				l.Unit, l.Attempt, l.CPU, l.Kept, MaxAttempt, most)
		}
		if err := l.Lineage.check(); err != nil {
			return err
		}
		id := [2]uint64{l.Unit, uint64(l.Attempt)}
		if seen[id] {
			return jobs.Errorf(jobs.Invalid, "report: two runs without a result of unit %d in attempt %d", l.Unit, l.Attempt)
		}
		seen[id] = true
	}
	return nil
}

// checkHead looks at what stands beside the bundles; they hold so many units, and kept says whether one of
// them names an outcome.
func (r *Report) checkHead(units int, kept bool) error {
	switch {
	case r.Job.IsZero() || r.Author.IsZero():
		return jobs.Errorf(jobs.Invalid, "report: without a job or an author")
	case !isName(r.Runtime) || !isName(r.Platform):
		return jobs.Errorf(jobs.Invalid, "report: runtime %q on %q, expected 1 to %d bytes of UTF-8 each", r.Runtime, r.Platform, MaxName)
	case len(r.Bundles) > MaxReportBundles || units > MaxReportUnits:
		return jobs.Errorf(jobs.Invalid, "report: %d units in %d bundles, expected at most %d in %d",
			units, len(r.Bundles), MaxReportUnits, MaxReportBundles)
	case len(r.Bundles) == 0 && (r.Lost == 0 && r.Overhead == 0 && len(r.LostRuns) == 0 || !r.Pack.IsZero()):
		return jobs.Errorf(jobs.Invalid, "report: without bundles, expected CPU time and no pack")
	case r.Lost < 0 || r.Lost > MaxSpend || r.Overhead < 0 || r.Overhead > MaxSpend:
		return jobs.Errorf(jobs.Invalid, "report: %s of CPU lost and %s of overhead, expected at most %s each", r.Lost, r.Overhead, MaxSpend)
	case kept && r.Pack.Digest.IsZero():
		return jobs.Errorf(jobs.Invalid, "report: outcomes without a pack that holds them")
	}
	return nil
}

func (u *UnitReport) check() error {
	if u.Outcome.IsZero() && !u.Failure.Failed() {
		return jobs.Errorf(jobs.Invalid, "report: unit %d: neither an outcome nor a failure", u.Unit)
	}
	if u.Failure.Kind > jobs.FailureInput || (!u.Failure.Failed() && u.Failure.Text != "") {
		return jobs.Errorf(jobs.Invalid, "report: unit %d: %s is no failure that this version knows", u.Unit, u.Failure.Kind)
	}
	if len(u.Failure.Text) > jobs.MaxFailureText || !utf8.ValidString(u.Failure.Text) {
		return jobs.Errorf(jobs.Invalid, "report: unit %d: failure text of %d bytes, expected at most %d of UTF-8",
			u.Unit, len(u.Failure.Text), jobs.MaxFailureText)
	}
	limit := MaxUnitMicros * time.Microsecond
	if t := u.Times; t.CPU < 0 || t.CPU > limit || t.Wall < 0 || t.Wall > limit {
		return jobs.Errorf(jobs.Invalid, "report: unit %d: %s of CPU in %s, expected at most %s", u.Unit, t.CPU, t.Wall, limit)
	}
	return u.Lineage.check()
}

func isName(s string) bool { return s != "" && len(s) <= MaxName && utf8.ValidString(s) }

func (r *Report) proto() *gridv1.Report {
	p := &gridv1.Report{
		Job: r.Job[:], Shard: r.Shard, Author: r.Author[:], Counter: r.Counter,
		Runtime: r.Runtime, Platform: r.Platform, Pack: BlobToProto(r.Pack),
		LostUs: uint64(r.Lost.Microseconds()), OverheadUs: uint64(r.Overhead.Microseconds()), Hour: r.Hour,
		Bundles: make([]*gridv1.BundleReport, len(r.Bundles)),
	}
	for _, l := range r.LostRuns {
		q := &gridv1.LostRun{Unit: l.Unit, Attempt: l.Attempt, CpuUs: uint64(l.CPU.Microseconds()), KeptMs: uint32(l.Kept.Milliseconds())}
		q.Lineage = l.Lineage.proto()
		p.Lost = append(p.Lost, q)
	}
	for i := range r.Bundles {
		b := &r.Bundles[i]
		q := &gridv1.BundleReport{Bundle: b.Bundle, Attempt: b.Attempt, Units: make([]*gridv1.UnitReport, len(b.Units))}
		for j := range b.Units {
			q.Units[j] = b.Units[j].proto()
		}
		p.Bundles[i] = q
	}
	return p
}

func (u *UnitReport) proto() *gridv1.UnitReport {
	p := &gridv1.UnitReport{
		Unit: u.Unit, Failure: FailureToProto(u.Failure),
		CpuUs: uint64(u.Times.CPU.Microseconds()), WallUs: uint64(u.Times.Wall.Microseconds()),
	}
	p.Lineage = u.Lineage.proto()
	if !u.Outcome.IsZero() {
		p.Outcome = u.Outcome[:]
	}
	return p
}

func reportFromProto(p *gridv1.Report) (*Report, error) {
	r := &Report{Shard: p.GetShard(), Counter: p.GetCounter(), Runtime: p.GetRuntime(), Platform: p.GetPlatform(), Hour: p.GetHour()}
	const most = uint64(MaxSpend / time.Microsecond)
	if p.GetLostUs() > most || p.GetOverheadUs() > most {
		return nil, jobs.Errorf(jobs.Invalid, "%d µs of CPU lost and %d of overhead, expected at most %d each", p.GetLostUs(), p.GetOverheadUs(), most)
	}
	r.Lost, r.Overhead = time.Duration(p.GetLostUs())*time.Microsecond, time.Duration(p.GetOverheadUs())*time.Microsecond
	var err error
	if r.Job, err = jobs.JobIDFromBytes(p.GetJob()); err != nil {
		return nil, err
	}
	if r.Author, err = jobs.KeyIDFromBytes(p.GetAuthor()); err != nil {
		return nil, err
	}
	if r.Pack, err = BlobFromProto(p.GetPack()); err != nil {
		return nil, err
	}
	for _, l := range p.GetLost() {
		if l.GetCpuUs() > MaxUnitMicros {
			return nil, jobs.Errorf(jobs.Invalid, "run without a result of unit %d: %d µs of CPU, expected at most %d", l.GetUnit(), l.GetCpuUs(), uint64(MaxUnitMicros))
		}
		lineage, err := lineageFromProto(l.GetLineage())
		if err != nil {
			return nil, err
		}
		r.LostRuns = append(r.LostRuns, LostRun{
			Unit: l.GetUnit(), Attempt: l.GetAttempt(), CPU: time.Duration(l.GetCpuUs()) * time.Microsecond, Lineage: lineage,
			Kept: time.Duration(l.GetKeptMs()) * time.Millisecond,
		})
	}
	if n := len(p.GetBundles()); n > 0 {
		r.Bundles = make([]BundleReport, n)
	}
	for i, q := range p.GetBundles() {
		b := BundleReport{Bundle: q.GetBundle(), Attempt: q.GetAttempt(), Units: make([]UnitReport, len(q.GetUnits()))}
		for j, u := range q.GetUnits() {
			if b.Units[j], err = unitFromProto(u); err != nil {
				return nil, err
			}
		}
		r.Bundles[i] = b
	}
	return r, nil
}

func unitFromProto(p *gridv1.UnitReport) (UnitReport, error) {
	u := UnitReport{Unit: p.GetUnit()}
	var err error
	if len(p.GetOutcome()) > 0 {
		if u.Outcome, err = jobs.DigestFromBytes(p.GetOutcome()); err != nil {
			return u, err
		}
	}
	if u.Failure, err = FailureFromProto(p.GetFailure()); err != nil {
		return u, err
	}
	if p.GetCpuUs() > MaxUnitMicros || p.GetWallUs() > MaxUnitMicros {
		return u, jobs.Errorf(jobs.Invalid, "unit %d: %d µs of CPU in %d µs, expected at most %d",
			u.Unit, p.GetCpuUs(), p.GetWallUs(), uint64(MaxUnitMicros))
	}
	u.Times.CPU = time.Duration(p.GetCpuUs()) * time.Microsecond
	u.Times.Wall = time.Duration(p.GetWallUs()) * time.Microsecond
	u.Lineage, err = lineageFromProto(p.GetLineage())
	return u, err
}
