package record_test

import (
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// busyReport is what 250 ms of short units give: 256 bundles of one unit.
func busyReport() *record.Report {
	r := sampleReport()
	r.Bundles = nil
	for i := range uint64(256) {
		r.Bundles = append(r.Bundles, record.BundleReport{Bundle: i, Units: []record.UnitReport{{
			Unit: i, Outcome: digest("x"), Times: jobs.Times{CPU: time.Millisecond, Wall: time.Millisecond},
		}}})
	}
	return r
}

func BenchmarkReportEncode(b *testing.B) {
	r := busyReport()
	b.SetBytes(int64(len(r.Encode())))
	for b.Loop() {
		r.Encode()
	}
}

func BenchmarkReportDecode(b *testing.B) {
	bytes := busyReport().Encode()
	b.SetBytes(int64(len(bytes)))
	for b.Loop() {
		if _, err := record.DecodeReport(bytes); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSign(b *testing.B) {
	payload := busyReport().Encode()
	for b.Loop() {
		record.Sign(record.TypeReport, payload, key(1))
	}
}

func BenchmarkVerify(b *testing.B) {
	e, by := record.Sign(record.TypeReport, busyReport().Encode(), key(1)), signer(1)
	for b.Loop() {
		if err := e.Verify(by); err != nil {
			b.Fatal(err)
		}
	}
}
