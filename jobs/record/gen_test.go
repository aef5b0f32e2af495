package record_test

import (
	"crypto/ed25519"
	"time"

	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

func key(n byte) ed25519.PrivateKey {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return ed25519.NewKeyFromSeed(seed)
}

func signer(n byte) jobs.KeyID { return record.KeyIDOf(key(n).Public().(ed25519.PublicKey)) }

func digest(s string) jobs.Digest { return jobs.DigestOf([]byte(s)) }

var (
	theJob  = jobs.JobID(digest("job"))
	anAgent = jobs.AgentID(digest("agent"))
)

func drawDigest(t *rapid.T) jobs.Digest {
	return jobs.DigestOf(rapid.SliceOfN(rapid.Byte(), 1, 4).Draw(t, "digest of"))
}

func drawBlob(t *rapid.T) jobs.Blob {
	return jobs.Blob{Digest: drawDigest(t), Size: rapid.Int64Range(0, 1<<50).Draw(t, "size")}
}

func drawReport(t *rapid.T) *record.Report {
	r := &record.Report{
		Job: theJob, Shard: rapid.Uint32().Draw(t, "shard"), Author: anAgent,
		Counter: rapid.Uint64().Draw(t, "counter"), Runtime: rapid.StringN(1, 20, record.MaxName).Draw(t, "runtime"),
		Platform: "linux/amd64", Pack: drawBlob(t), Hour: rapid.Uint32().Draw(t, "hour"),
		Lost: drawSpend(t, "lost"), Overhead: drawSpend(t, "overhead"),
	}
	unit, least := uint64(0), 1
	for n := range rapid.IntRange(0, 3).Draw(t, "lost runs") {
		u := drawUnit(t, uint64(n))
		r.LostRuns = append(r.LostRuns, record.LostRun{
			Unit: u.Unit, Attempt: rapid.Uint32Range(0, record.MaxAttempt).Draw(t, "attempt"), CPU: u.Times.CPU, Lineage: u.Lineage,
			Kept: time.Duration(rapid.Int64Range(0, record.MaxUnitMicros/1000).Draw(t, "kept")) * time.Millisecond,
		})
	}
	if r.Lost+r.Overhead > 0 || len(r.LostRuns) > 0 {
		least = 0
	}
	for range rapid.IntRange(least, 4).Draw(t, "bundles") {
		b := record.BundleReport{
			Bundle:  rapid.Uint64().Draw(t, "bundle"),
			Attempt: rapid.Uint32Range(0, record.MaxAttempt).Draw(t, "attempt"),
		}
		for range rapid.IntRange(1, 4).Draw(t, "units") {
			unit += rapid.Uint64Range(1, 1<<40).Draw(t, "step")
			b.Units = append(b.Units, drawUnit(t, unit))
		}
		r.Bundles = append(r.Bundles, b)
	}
	if len(r.Bundles) == 0 {
		r.Pack = jobs.Blob{}
	}
	return r
}

func drawSpend(t *rapid.T, what string) time.Duration {
	return time.Duration(rapid.Int64Range(0, record.MaxSpend.Microseconds()).Draw(t, what)) * time.Microsecond
}

func drawLineage(t *rapid.T) (l record.Lineage) {
	cpu := time.Duration(0)
	for range rapid.IntRange(0, record.MaxLineage).Draw(t, "lineage") {
		cpu += time.Duration(rapid.Int64Range(1, 1e9/record.MaxLineage).Draw(t, "before")) * time.Millisecond
		l = l.After(jobs.AgentID(drawDigest(t)), cpu)
	}
	return l
}

func drawUnit(t *rapid.T, unit uint64) record.UnitReport {
	micros := rapid.Int64Range(0, record.MaxUnitMicros)
	u := record.UnitReport{
		Unit: unit,
		Times: jobs.Times{
			CPU:  time.Duration(micros.Draw(t, "cpu")) * time.Microsecond,
			Wall: time.Duration(micros.Draw(t, "wall")) * time.Microsecond,
		},
	}
	u.Lineage = drawLineage(t)
	failed := rapid.Bool().Draw(t, "failed")
	if failed {
		u.Failure.Kind = jobs.FailureKind(rapid.IntRange(1, int(jobs.FailureInput)).Draw(t, "kind"))
		u.Failure.Text = rapid.StringN(0, 100, jobs.MaxFailureText).Draw(t, "text")
	}
	if !failed || rapid.Bool().Draw(t, "wrote") {
		u.Outcome = drawDigest(t)
	}
	return u
}

func drawRuling(t *rapid.T) *record.Ruling {
	r := &record.Ruling{Job: theJob, Sequence: rapid.Uint64().Draw(t, "sequence")}
	unit := uint64(0)
	for range rapid.IntRange(1, 5).Draw(t, "units") {
		unit += rapid.Uint64Range(1, 1<<40).Draw(t, "step")
		r.Units = append(r.Units, record.RuledUnit{Unit: unit, Outcome: drawDigest(t)})
	}
	return r
}

func drawCheckpoint(t *rapid.T) *record.Checkpoint {
	c := &record.Checkpoint{
		Job: jobs.JobID(drawDigest(t)), Unit: rapid.Uint64().Draw(t, "unit"),
		Attempt:  rapid.Uint32Range(0, record.MaxAttempt).Draw(t, "attempt"),
		Sequence: rapid.Uint64Range(0, record.MaxSequence).Draw(t, "sequence"),
		CPU:      time.Duration(rapid.Int64Range(0, record.MaxUnitMicros).Draw(t, "cpu")) * time.Microsecond,
		Runtime:  rapid.StringN(1, 20, record.MaxName).Draw(t, "runtime"),
		Lineage:  drawLineage(t),
	}
	for range rapid.IntRange(1, record.MaxCheckpointParts).Draw(t, "parts") {
		size := rapid.Int64Range(0, record.MaxCheckpointBytes).Draw(t, "size")
		c.Parts = append(c.Parts, jobs.Blob{Digest: drawDigest(t), Size: size})
	}
	return c
}

// drawOutcome draws an outcome as DecodeOutcome gives it: files sorted, nothing where there are no bytes.
func drawOutcome(t *rapid.T) record.Outcome {
	o := record.Outcome{
		ExitCode: rapid.Uint32().Draw(t, "exit code"), Stdout: drawBytes(t), Stderr: drawBytes(t),
	}
	for _, path := range []string{"a", "a-b/c", "a.b", "b/c/d", "ä"} {
		if rapid.Bool().Draw(t, "has file") {
			o.Files = append(o.Files, record.File{Path: path, Data: drawBytes(t)})
		}
	}
	return o
}

func drawBytes(t *rapid.T) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")
	if len(b) == 0 {
		return nil
	}
	return b
}

func drawEnvelope(t *rapid.T) record.Envelope {
	e := record.Sign(record.TypeManifest, rapid.SliceOfN(rapid.Byte(), 1, 100).Draw(t, "payload"), key(1))
	if rapid.Bool().Draw(t, "countersigned") {
		e.Countersign(key(2))
	}
	return e
}

// sampleReport is a report with a success and a failure.
func sampleReport() *record.Report {
	return &record.Report{
		Job: theJob, Shard: 2, Author: anAgent, Counter: 7, Runtime: "wazero 1.12.0", Platform: "linux/amd64",
		Pack: jobs.Blob{Digest: digest("pack"), Size: 123}, Lost: time.Minute, Overhead: 3 * time.Second, Hour: 490_000,
		LostRuns: []record.LostRun{{Unit: 11, Attempt: 1, CPU: 20 * time.Second, Lineage: sampleLineage(), Kept: 25 * time.Second}},
		Bundles: []record.BundleReport{{Bundle: 3, Attempt: 1, Units: []record.UnitReport{
			{Unit: 9, Outcome: digest("nine"), Times: jobs.Times{CPU: time.Second, Wall: 2 * time.Second}, Lineage: sampleLineage()},
			{Unit: 10, Outcome: digest("ten"), Failure: jobs.Failure{Kind: jobs.FailureExit, Text: "exit code 3"}},
		}}},
	}
}

func sampleLineage() record.Lineage {
	return record.Lineage{{From: anAgent, Before: 5 * time.Second}, {From: jobs.AgentID(digest("other agent")), Before: time.Second}}
}

func sampleRuling() *record.Ruling {
	return &record.Ruling{Job: theJob, Sequence: 4, Units: []record.RuledUnit{{Unit: 1, Outcome: digest("a")}, {Unit: 5, Outcome: digest("b")}}}
}

func sampleCheckpoint() *record.Checkpoint {
	return &record.Checkpoint{
		Job: theJob, Unit: 9, Attempt: 1, Sequence: 4, CPU: time.Minute, Runtime: "wazero 1.12.0",
		Parts:   []jobs.Blob{{Digest: digest("base"), Size: 123}, {Digest: digest("changes"), Size: 4}},
		Lineage: sampleLineage(),
	}
}

func sampleReceipt() *record.Receipt {
	return &record.Receipt{Holder: anAgent, Blob: jobs.Blob{Digest: digest("pack"), Size: 123}, Job: theJob}
}

func sampleOutcome() record.Outcome {
	return record.Outcome{
		ExitCode: 1, Stdout: []byte("out"), Stderr: []byte("err"),
		Files: []record.File{{Path: "a", Data: []byte("1")}, {Path: "b/c", Data: []byte("2")}},
	}
}

func samplePack() []byte {
	one, two := sampleOutcome(), record.Outcome{Stdout: []byte("second")}
	return record.EncodePack([]record.UnitOutcome{
		{Unit: 9, Bytes: one.Encode()}, {Unit: 4, Bytes: two.Encode()}, {Unit: 9, Bytes: two.Encode()},
	})
}
