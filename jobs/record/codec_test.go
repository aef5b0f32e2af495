package record_test

import (
	"bytes"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// roundTrip checks that decoding what a value encodes to gives the value.
func roundTrip[T any](t *testing.T, draw func(*rapid.T) T, encode func(T) []byte, decode func([]byte) (T, error)) {
	t.Helper()
	rapid.Check(t, func(t *rapid.T) {
		want := draw(t)
		got, err := decode(encode(want))
		if err != nil {
			t.Fatalf("%+v: %v", want, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v, expected %+v", got, want)
		}
	})
}

func TestRoundTrips(t *testing.T) {
	t.Run("envelope", func(t *testing.T) {
		roundTrip(t, drawEnvelope, record.Envelope.Encode, record.DecodeEnvelope)
	})
	t.Run("report", func(t *testing.T) { roundTrip(t, drawReport, (*record.Report).Encode, record.DecodeReport) })
	t.Run("ruling", func(t *testing.T) { roundTrip(t, drawRuling, (*record.Ruling).Encode, record.DecodeRuling) })
	t.Run("receipt", func(t *testing.T) {
		draw := func(t *rapid.T) *record.Receipt {
			return &record.Receipt{Holder: anAgent, Blob: drawBlob(t), Job: jobs.JobID(drawDigest(t))}
		}
		roundTrip(t, draw, (*record.Receipt).Encode, record.DecodeReceipt)
	})
	t.Run("cancel", func(t *testing.T) {
		draw := func(t *rapid.T) *record.Cancel { return &record.Cancel{Job: jobs.JobID(drawDigest(t))} }
		roundTrip(t, draw, (*record.Cancel).Encode, record.DecodeCancel)
	})
	t.Run("seal", func(t *testing.T) {
		draw := func(t *rapid.T) *record.Seal { return &record.Seal{Job: jobs.JobID(drawDigest(t))} }
		roundTrip(t, draw, (*record.Seal).Encode, record.DecodeSeal)
	})
	t.Run("checkpoint", func(t *testing.T) {
		roundTrip(t, drawCheckpoint, (*record.Checkpoint).Encode, record.DecodeCheckpoint)
	})
	t.Run("outcome", func(t *testing.T) {
		encode := func(o record.Outcome) []byte { return o.Encode() }
		roundTrip(t, drawOutcome, encode, record.DecodeOutcome)
	})
}

// head is a report that says nothing yet.
func head(r *record.Report) record.Report {
	return record.Report{Job: r.Job, Author: r.Author, Runtime: r.Runtime, Platform: r.Platform}
}

// lost returns runs without a result of so many units.
func lost(n int) []record.LostRun {
	list := make([]record.LostRun, n)
	for i := range list {
		list[i].Unit = uint64(i)
	}
	return list
}

func TestReportBounds(t *testing.T) {
	unit := func(r *record.Report) *record.UnitReport { return &r.Bundles[0].Units[0] }
	units := func(n int) []record.UnitReport {
		list := make([]record.UnitReport, n)
		for i := range list {
			list[i] = record.UnitReport{Unit: uint64(i), Outcome: digest("x")}
		}
		return list
	}
	bundles := func(n int) []record.BundleReport {
		list := make([]record.BundleReport, n)
		for i := range list {
			list[i] = record.BundleReport{Bundle: uint64(i), Units: []record.UnitReport{{Unit: uint64(i), Outcome: digest("x")}}}
		}
		return list
	}
	for _, c := range []struct {
		name  string
		spoil func(*record.Report)
		ok    bool
	}{
		{"as it is", func(*record.Report) {}, true},
		{"no job", func(r *record.Report) { r.Job = jobs.JobID{} }, false},
		{"no author", func(r *record.Report) { r.Author = jobs.AgentID{} }, false},
		{"no runtime", func(r *record.Report) { r.Runtime = "" }, false},
		{"longest platform", func(r *record.Report) { r.Platform = strings.Repeat("x", record.MaxName) }, true},
		{"long platform", func(r *record.Report) { r.Platform = strings.Repeat("x", record.MaxName+1) }, false},
		{"no pack", func(r *record.Report) { r.Pack = jobs.Blob{} }, false},
		{"no pack, only failures that wrote nothing", func(r *record.Report) {
			r.Pack, r.Bundles[0].Units = jobs.Blob{}, []record.UnitReport{{Failure: jobs.Failure{Kind: jobs.FailureInput}}}
		}, true},
		{"no bundles, with a pack", func(r *record.Report) { r.Bundles = nil }, false},
		{"no bundles", func(r *record.Report) { r.Bundles, r.Pack = nil, jobs.Blob{} }, true},
		{"only lost", func(r *record.Report) { *r = head(r); r.Lost = time.Second }, true},
		{"only overhead", func(r *record.Report) { *r = head(r); r.Overhead = time.Second }, true},
		{"only a lost run", func(r *record.Report) { *r = head(r); r.LostRuns = sampleReport().LostRuns }, true},
		{"nothing", func(r *record.Report) { *r = head(r) }, false},
		{"most lost runs", func(r *record.Report) { r.LostRuns = lost(record.MaxLostRuns) }, true},
		{"too many lost runs", func(r *record.Report) { r.LostRuns = lost(record.MaxLostRuns + 1) }, false},
		{"a lost run twice", func(r *record.Report) { r.LostRuns = append(lost(3), lost(1)...) }, false},
		{"lost in two attempts", func(r *record.Report) { r.LostRuns = append(lost(1), record.LostRun{Attempt: 1}) }, true},
		{"long lost run", func(r *record.Report) { r.LostRuns[0].CPU = (record.MaxUnitMicros + 1) * time.Microsecond }, false},
		{"lost run kept long", func(r *record.Report) { r.LostRuns[0].Kept = record.MaxUnitMicros*time.Microsecond + time.Millisecond }, false},
		{"lost run of no attempt", func(r *record.Report) { r.LostRuns[0].Attempt = record.MaxAttempt + 1 }, false},
		{"most lost", func(r *record.Report) { r.Lost = record.MaxSpend }, true},
		{"too much lost", func(r *record.Report) { r.Lost = record.MaxSpend + time.Microsecond }, false},
		{"too much overhead", func(r *record.Report) { r.Overhead = record.MaxSpend + time.Microsecond }, false},
		{"no lineage", func(r *record.Report) { unit(r).Lineage = nil }, true},
		{"bad lineage", func(r *record.Report) { unit(r).Lineage[0].From = jobs.AgentID{} }, false},
		{"bad lineage of a lost run", func(r *record.Report) { r.LostRuns[0].Lineage[1].Before = 0 }, false},
		{"far hour", func(r *record.Report) { r.Hour = math.MaxUint32 }, true},
		{"no units", func(r *record.Report) { r.Bundles[0].Units = nil }, false},
		{"most bundles", func(r *record.Report) { r.Bundles = bundles(record.MaxReportBundles) }, true},
		{"too many bundles", func(r *record.Report) { r.Bundles = bundles(record.MaxReportBundles + 1) }, false},
		{"most units", func(r *record.Report) { r.Bundles[0].Units = units(record.MaxReportUnits) }, true},
		{"too many units", func(r *record.Report) { r.Bundles[0].Units = units(record.MaxReportUnits + 1) }, false},
		{"highest attempt", func(r *record.Report) { r.Bundles[0].Attempt = record.MaxAttempt }, true},
		{"attempt too high", func(r *record.Report) { r.Bundles[0].Attempt = record.MaxAttempt + 1 }, false},
		{"unit twice", func(r *record.Report) { r.Bundles[0].Units = append(units(3), units(1)...) }, false},
		{"unit in two attempts", func(r *record.Report) {
			r.Bundles = append(r.Bundles, record.BundleReport{Bundle: 3, Attempt: 2, Units: r.Bundles[0].Units})
		}, true},
		{"success without outcome", func(r *record.Report) { unit(r).Outcome = jobs.Digest{} }, false},
		{"longest text", func(r *record.Report) { unit(r).Failure = failure(strings.Repeat("x", jobs.MaxFailureText)) }, true},
		{"long text", func(r *record.Report) { unit(r).Failure = failure(strings.Repeat("x", jobs.MaxFailureText+1)) }, false},
		{"unknown failure", func(r *record.Report) { unit(r).Failure.Kind = jobs.FailureInput + 1 }, false},
		{"longest time", func(r *record.Report) { unit(r).Times.CPU = record.MaxUnitMicros * time.Microsecond }, true},
		{"long time", func(r *record.Report) { unit(r).Times.Wall = (record.MaxUnitMicros + 1) * time.Microsecond }, false},
		{"many long texts", func(r *record.Report) {
			list := units(600)
			for i := range list {
				list[i].Failure = failure(strings.Repeat("x", jobs.MaxFailureText))
			}
			r.Bundles[0].Units = list
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := sampleReport()
			c.spoil(r)
			if err := r.Check(); (err == nil) != c.ok || (!c.ok && jobs.KindOf(err) != jobs.Invalid) {
				t.Errorf("check: %v", err)
			}
			got, err := record.DecodeReport(r.Encode())
			if (err == nil) != c.ok || (got != nil) != c.ok {
				t.Errorf("decode: %v, %v", got, err)
			}
		})
	}
}

func TestLineageBounds(t *testing.T) {
	long := func(n int) (l record.Lineage) {
		for i := n; i > 0; i-- {
			l = append(l, record.Origin{From: anAgent, Before: time.Duration(i) * time.Second})
		}
		return l
	}
	for _, c := range []struct {
		name string
		is   record.Lineage
		ok   bool
	}{
		{"none", nil, true},
		{"two", sampleLineage(), true},
		{"the longest", long(record.MaxLineage), true},
		{"too long", long(record.MaxLineage + 1), false},
		{"of nobody", record.Lineage{{Before: time.Second}}, false},
		{"at the beginning", record.Lineage{{From: anAgent}}, false},
		{"late", record.Lineage{{From: anAgent, Before: record.MaxUnitMicros * time.Microsecond}}, true},
		{"too late", record.Lineage{{From: anAgent, Before: record.MaxUnitMicros*time.Microsecond + time.Millisecond}}, false},
		{"in place", record.Lineage{{From: anAgent, Before: time.Second}, {From: anAgent, Before: time.Second}}, false},
		{"backwards", record.Lineage{{From: anAgent, Before: time.Second}, {From: anAgent, Before: time.Minute}}, false},
	} {
		checkpoint, report := sampleCheckpoint(), sampleReport()
		checkpoint.Lineage, report.LostRuns[0].Lineage = c.is, c.is
		_, err := record.DecodeCheckpoint(checkpoint.Encode())
		_, errReport := record.DecodeReport(report.Encode())
		if (err == nil) != c.ok || (errReport == nil) != c.ok || (checkpoint.Check() == nil) != c.ok {
			t.Errorf("%s: %v, %v", c.name, err, errReport)
		}
	}
	l := long(record.MaxLineage).After(anAgent, time.Hour+time.Microsecond)
	if len(l) != record.MaxLineage || l.Before() != time.Hour || l[1].Before != record.MaxLineage*time.Second {
		t.Errorf("%d checkpoints, %v", len(l), l[:2])
	}
	if l := sampleLineage().After(anAgent, 5*time.Second+time.Microsecond); len(l) != 2 {
		t.Errorf("a run that took nothing has a place of its own: %v", l)
	}
	if l := record.Lineage(nil).After(anAgent, time.Microsecond); l != nil {
		t.Errorf("one that took nothing from the beginning: %v", l)
	}
}

func failure(text string) jobs.Failure { return jobs.Failure{Kind: jobs.FailureTrap, Text: text} }

func TestReportThatCannotBeEncoded(t *testing.T) {
	for name, spoil := range map[string]func(*record.Report){
		"runtime that is no UTF-8": func(r *record.Report) { r.Runtime = "\xff" },
		"text that is no UTF-8":    func(r *record.Report) { r.Bundles[0].Units[1].Failure.Text = "\xff" },
		"negative time":            func(r *record.Report) { r.Bundles[0].Units[0].Times.CPU = -1 },
		"negative loss":            func(r *record.Report) { r.Lost = -1 },
		"negative overhead":        func(r *record.Report) { r.Overhead = -1 },
		"negative lost run":        func(r *record.Report) { r.LostRuns[0].Kept = -1 },
		"text without a failure":   func(r *record.Report) { r.Bundles[0].Units[0].Failure.Text = "why" },
	} {
		r := sampleReport()
		spoil(r)
		if err := r.Check(); jobs.KindOf(err) != jobs.Invalid || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLaterFieldsAreTolerated adds a field that no version has, with a number far from today's.
func TestLaterFieldsAreTolerated(t *testing.T) {
	later := protowire.AppendTag(nil, 1000, protowire.BytesType)
	later = protowire.AppendString(later, "from a later version")
	want := sampleReport()
	got, err := record.DecodeReport(append(want.Encode(), later...))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("report: %+v, %v", got, err)
	}
	if _, err := record.DecodeRuling(append(sampleRuling().Encode(), later...)); err != nil {
		t.Errorf("ruling: %v", err)
	}
	o := sampleOutcome()
	if _, err := record.DecodeOutcome(append(o.Encode(), later...)); jobs.KindOf(err) != jobs.Invalid || err == nil {
		t.Errorf("outcome: %v, expected it to be refused", err)
	}
}

func TestRulingBounds(t *testing.T) {
	many := func(n int) []record.RuledUnit {
		list := make([]record.RuledUnit, n)
		for i := range list {
			list[i].Unit = uint64(i)
		}
		return list
	}
	for name, c := range map[string]struct {
		units []record.RuledUnit
		ok    bool
	}{
		"none":         {nil, false},
		"most":         {many(record.MaxRulingUnits), true},
		"too many":     {many(record.MaxRulingUnits + 1), false},
		"twice":        {[]record.RuledUnit{{Unit: 3}, {Unit: 3}}, false},
		"out of order": {[]record.RuledUnit{{Unit: 3}, {Unit: 2}}, false},
	} {
		r := &record.Ruling{Job: theJob, Units: c.units}
		if got, err := record.DecodeRuling(r.Encode()); (err == nil) != c.ok || (got != nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestP11CheckpointBounds: a note that is larger, or claims more, than any honest one is refused.
func TestP11CheckpointBounds(t *testing.T) {
	part := sampleCheckpoint().Parts[0]
	for name, test := range map[string]struct {
		spoil func(*record.Checkpoint)
		ok    bool
	}{
		"as it is":       {func(*record.Checkpoint) {}, true},
		"no job":         {func(c *record.Checkpoint) { c.Job = jobs.JobID{} }, false},
		"no runtime":     {func(c *record.Checkpoint) { c.Runtime = "" }, false},
		"long runtime":   {func(c *record.Checkpoint) { c.Runtime = strings.Repeat("x", record.MaxName+1) }, false},
		"no parts":       {func(c *record.Checkpoint) { c.Parts = nil }, false},
		"many parts":     {func(c *record.Checkpoint) { c.Parts = []jobs.Blob{part, part, part} }, false},
		"largest part":   {func(c *record.Checkpoint) { c.Parts[1].Size = record.MaxCheckpointBytes }, true},
		"too large part": {func(c *record.Checkpoint) { c.Parts[1].Size = record.MaxCheckpointBytes + 1 }, false},
		"a zero digest":  {func(c *record.Checkpoint) { c.Parts[1].Digest = jobs.Digest{} }, false},
		"last sequence":  {func(c *record.Checkpoint) { c.Sequence = record.MaxSequence }, true},
		"past sequences": {func(c *record.Checkpoint) { c.Sequence = record.MaxSequence + 1 }, false},
		"last attempt":   {func(c *record.Checkpoint) { c.Attempt = record.MaxAttempt }, true},
		"past attempts":  {func(c *record.Checkpoint) { c.Attempt = record.MaxAttempt + 1 }, false},
		"most CPU":       {func(c *record.Checkpoint) { c.CPU = record.MaxUnitMicros * time.Microsecond }, true},
		"too much CPU":   {func(c *record.Checkpoint) { c.CPU = (record.MaxUnitMicros + 1) * time.Microsecond }, false},
		"negative CPU":   {func(c *record.Checkpoint) { c.CPU = -time.Microsecond }, false},
	} {
		c := sampleCheckpoint()
		test.spoil(c)
		if err := c.Check(); (err == nil) != test.ok || (!test.ok && jobs.KindOf(err) != jobs.Invalid) {
			t.Errorf("%s: check: %v", name, err)
		}
		if got, err := record.DecodeCheckpoint(c.Encode()); (err == nil) != test.ok || (got != nil) != test.ok {
			t.Errorf("%s: decode: %v, %v", name, got, err)
		}
	}
	padded := protowire.AppendTag(sampleCheckpoint().Encode(), 1000, protowire.BytesType)
	padded = protowire.AppendBytes(padded, make([]byte, record.MaxCheckpoint))
	if _, err := record.DecodeCheckpoint(padded); jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("padded: %v", err)
	}
}

func TestRecordsWithoutWhatTheyAreAbout(t *testing.T) {
	for name, err := range map[string]error{
		"cancel":               second(record.DecodeCancel(nil)),
		"cancel of no job":     second(record.DecodeCancel((&record.Cancel{}).Encode())),
		"seal":                 second(record.DecodeSeal(nil)),
		"report":               second(record.DecodeReport(nil)),
		"ruling":               second(record.DecodeRuling(nil)),
		"receipt":              second(record.DecodeReceipt(nil)),
		"receipt of no blob":   second(record.DecodeReceipt((&record.Receipt{Holder: anAgent, Job: theJob}).Encode())),
		"receipt of no holder": second(record.DecodeReceipt((&record.Receipt{Blob: sampleReceipt().Blob, Job: theJob}).Encode())),
		"checkpoint":           second(record.DecodeCheckpoint(nil)),
		"envelope":             second(record.DecodeEnvelope(nil)),
		"too long":             second(record.DecodeCancel(make([]byte, record.MaxPayload+1))),
	} {
		if jobs.KindOf(err) != jobs.Invalid || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestOutcomeIsCanonical(t *testing.T) {
	o, p := sampleOutcome(), sampleOutcome()
	p.Files[0], p.Files[1] = p.Files[1], p.Files[0]
	if o.Digest() != p.Digest() {
		t.Error("the order of files is in the digest")
	}
	if p.Files[0].Path != "b/c" {
		t.Error("encoding sorts the caller's files")
	}
	empty := record.Outcome{}
	if b := empty.Encode(); len(b) != 0 {
		t.Errorf("an empty outcome has bytes: %x", b)
	}
	// Equal to the empty outcome for any protobuf reader: an exit code of 0 spelt out.
	spelt := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 0)
	if _, err := record.DecodeOutcome(spelt); err == nil {
		t.Error("two forms of one outcome")
	}
}

func TestPaths(t *testing.T) {
	for path, ok := range map[string]bool{
		"a": true, "a/b.c": true, "..a": true, " ": true, strings.Repeat("x", record.MaxPath): true,
		"": false, ".": false, "..": false, "../a": false, "a/../b": false, "a/..": false, "/a": false, "a/": false,
		"a//b": false, "./a": false, "a\\b": false, "a\x00": false, "\xff": false, strings.Repeat("x", record.MaxPath+1): false,
	} {
		if err := record.CheckPath(path); (err == nil) != ok {
			t.Errorf("%.20q: %v", path, err)
		}
		o := record.Outcome{Files: []record.File{{Path: path}}}
		if err := o.Check(); (err == nil) != ok {
			t.Errorf("outcome with %.20q: %v", path, err)
		}
	}
	twice := record.Outcome{Files: []record.File{{Path: "a"}, {Path: "a"}}}
	if _, err := record.DecodeOutcome(twice.Encode()); err == nil {
		t.Error("two files of one path")
	}
}

func TestPack(t *testing.T) {
	one, two := sampleOutcome(), record.Outcome{Stdout: []byte("second")}
	b := samplePack()
	p, err := record.DecodePack(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Units(); !reflect.DeepEqual(got, []uint64{4, 9}) {
		t.Errorf("units %v", got)
	}
	for _, c := range []struct {
		unit uint64
		want record.Outcome
	}{{9, one}, {9, two}, {4, two}} {
		if got, err := p.Outcome(c.unit, c.want.Digest()); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("unit %d: %+v, %v", c.unit, got, err)
		}
	}
	if _, err := p.Outcome(4, one.Digest()); jobs.KindOf(err) != jobs.NotFound {
		t.Errorf("an outcome of another unit: %v", err)
	}
	b[len(b)-1] ^= 1 // in the last outcome
	if _, err := p.Outcome(9, two.Digest()); jobs.KindOf(err) != jobs.Corrupt {
		t.Errorf("a flipped bit: %v", err)
	}
	if _, err := p.Outcome(9, one.Digest()); err != nil {
		t.Errorf("its neighbour: %v", err)
	}
}

func TestPackHoldsWhatWasPutIn(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var list []record.UnitOutcome
		var outcomes []record.Outcome
		for range rapid.IntRange(0, 6).Draw(t, "n") {
			o := drawOutcome(t)
			outcomes = append(outcomes, o)
			list = append(list, record.UnitOutcome{Unit: rapid.Uint64Range(0, 3).Draw(t, "unit"), Bytes: o.Encode()})
		}
		p, err := record.DecodePack(record.EncodePack(list))
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range outcomes {
			if got, err := p.Outcome(list[i].Unit, o.Digest()); err != nil || !reflect.DeepEqual(got, o) {
				t.Fatalf("%+v, expected %+v: %v", got, o, err)
			}
		}
	})
}

func TestBrokenPacks(t *testing.T) {
	good := samplePack()
	for name, b := range map[string][]byte{
		"empty":                nil,
		"shorter than a head":  good[:3],
		"index cut":            good[:20],
		"an outcome cut":       good[:len(good)-1],
		"index of 4 GiB":       append([]byte{255, 255, 255, 255}, good[4:]...),
		"index that is no one": append([]byte{0, 0, 0, 1}, 0xff),
	} {
		if p, err := record.DecodePack(b); p != nil || jobs.KindOf(err) != jobs.Invalid || err == nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	most := make([]record.UnitOutcome, record.MaxPackEntries)
	if _, err := record.DecodePack(record.EncodePack(most)); err != nil {
		t.Errorf("a full pack: %v", err)
	}
	if _, err := record.DecodePack(record.EncodePack(append(most, most[0]))); err == nil {
		t.Error("a pack of too many outcomes")
	}
	if !bytes.Equal(good, samplePack()) {
		t.Error("a decoder changed its input")
	}
}
