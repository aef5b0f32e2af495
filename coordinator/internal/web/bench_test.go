package web

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/jobs"
)

// BenchmarkPage is a page of a grid with 10,000 live jobs and 500 agents, from the request to its last byte, with the list
// of jobs read anew each time. What the coordinator's own list costs is not in it.
func BenchmarkPage(b *testing.B) {
	f := &fakeGrid{members: members("10.0.%d.1:7745", peer.Office, 500, 250)}
	for n := range 10_000 {
		state := Done
		if n%100 == 0 {
			state = Running
		}
		j := job(1, alice, fmt.Sprintf("job-%05d", n), state)
		j.ID = jobs.JobID(jobs.DigestOf(fmt.Append(nil, n)))
		f.jobs = append(f.jobs, j)
	}
	p := newPage(b, f, nil)
	browser := logIn(b, p, operator())
	for _, path := range []string{"/jobs", "/jobs?q=job-0999&page=1", "/pool"} {
		b.Run(path, func(b *testing.B) {
			bytes := 0
			for b.Loop() {
				p.snapshot.at = time.Time{}
				w := browser.get(path)
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				bytes = w.Body.Len()
			}
			b.ReportMetric(float64(bytes), "bytes/page")
		})
	}
}
