package results

import (
	"testing"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

// BenchmarkPut writes the folders of units that printed a line, and reads them back.
func BenchmarkPut(b *testing.B) {
	const units = 2000
	r := &Result{Status: ledger.Accepted, Outcome: record.Outcome{Stdout: []byte("42\n")}, Agent: jobs.AgentID{7}}
	for b.Loop() {
		f, err := Open(b.TempDir(), Job{ID: jobs.DigestOf([]byte("bench")), Name: "bench", Units: units})
		if err != nil {
			b.Fatal(err)
		}
		for unit := range uint64(units) {
			if _, ok := f.Verified(unit); ok {
				b.Fatal("there before")
			}
			if err := f.Put(unit, r); err != nil {
				b.Fatal(err)
			}
		}
		for unit := range uint64(units) {
			if _, ok := f.Verified(unit); !ok {
				b.Fatal("not there")
			}
		}
		if err := f.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*units), "µs/unit")
}
