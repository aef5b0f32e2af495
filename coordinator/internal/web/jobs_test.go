package web

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"idlegrid/jobs"
)

// TestJobs: a submitter sees their own, an operator all, those first that are not over; and no name is believed to be
// markup.
func TestJobs(t *testing.T) {
	p := newPage(t, some(), nil)
	a := logIn(t, p, submitter())
	text := a.sees("/jobs", []string{
		"finished", "&lt;script&gt;alert(1)", `<progress max="100" value="40"`, "40 %", "5m0s", "2/s", "390<span", "1\u202f000", `<noscript><meta http-equiv="refresh"`,
	}, "bobs", "<script>alert", "Submitter</th>")
	if strings.Index(text, "alert(1)") > strings.Index(text, "finished") {
		t.Error("a job that is done stands above one that runs")
	}
	a.sees("/jobs?q=FINISH", []string{"finished"}, "alert")
	a.sees("/jobs?q=bobs", []string{"No job is like that."}, "o-bobs")
	a.sees("/jobs?q=0202", []string{"alert"}, "finished")
	a.sees("/jobs?state=done", []string{"finished"}, "alert")
	a.sees("/jobs?state="+hostileQuery, []string{"finished"}, "<script>alert")
	a.sees("/jobs?q="+hostileQuery, nil, "<script>alert")
	a.sees("/jobs?page=-1", []string{"finished"})
	o := logIn(t, p, operator())
	o.sees("/jobs", []string{"finished", "bobs", "Submitter</th>", "not known"})
	o.sees("/jobs?q=o-bobs", []string{"bobs"}, "finished")
	o.sees("/jobs?q=b00000", []string{"bobs"}, "finished")
}

const hostileQuery = "%3Cscript%3Ealert(1)%3C/script%3E"

func TestNoJobs(t *testing.T) {
	p := newPage(t, &fakeGrid{}, nil)
	logIn(t, p, submitter()).sees("/jobs", []string{"There is no live job of yours."})
	logIn(t, p, operator()).sees("/jobs", []string{"There is no live job."})
}

func TestJobsByPages(t *testing.T) {
	f := &fakeGrid{}
	for n := range 250 {
		j := job(1, alice, fmt.Sprintf("job-%03d", n), Done)
		j.ID = jobs.JobID{byte(n), 1}
		f.jobs = append(f.jobs, j)
	}
	b := logIn(t, newPage(t, f, nil), submitter())
	b.sees("/jobs", []string{"job-000", "job-099", "page 1 of 3", `href="/jobs?page=2" rel="next"`}, "job-100", `rel="prev"`)
	b.sees("/jobs?page=2&q=job", []string{"job-100", `href="/jobs?q=job" rel="prev"`, `href="/jobs?page=3&amp;q=job" rel="next"`})
	b.sees("/jobs?page=99", []string{"job-249", "page 3 of 3"}, `rel="next"`)
}

func TestJob(t *testing.T) {
	p := newPage(t, some(), nil)
	a := logIn(t, p, submitter())
	a.sees("/jobs/020202", []string{
		"&lt;script&gt;alert(1)", "&amp;, you", "40 %", "3 agents", "16 lent", "Unit 7", "exit, 3 attempts", "its outcomes differ", "its pack", "gridctl cancel 020202000000",
	}, "<script>alert")
	for path, want := range map[string]int{
		"/jobs/030303": http.StatusNotFound, "/jobs/0202": http.StatusNotFound, "/jobs/ffffff": http.StatusNotFound, "/jobs/020202/x": http.StatusNotFound, "/nowhere": http.StatusNotFound,
	} {
		if w := a.get(path); w.Code != want || strings.Contains(w.Body.String(), "bobs") {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	logIn(t, p, operator()).sees("/jobs/030303", nil)
}

func TestJobThatCannotBeShown(t *testing.T) {
	f := some()
	f.fails = jobs.WithHint(jobs.Errorf(jobs.Unavailable, "no <steward> answers"), "wait")
	b := logIn(t, newPage(t, f, nil), submitter())
	if w := b.get("/jobs/020202"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "No &lt;steward&gt; answers. wait") {
		t.Errorf("%d: %s", w.Code, w.Body)
	}
}
