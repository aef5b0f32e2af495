package web

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"idlegrid/agent/program"
	"idlegrid/coordinator/internal/pace"
	"idlegrid/jobs"
)

const (
	// jobsAPage is how many jobs one page lists.
	jobsAPage = 100
	// maxSearch bounds what is searched for, in bytes.
	maxSearch = 100
	// snapshotLife is how old what pages show of jobs may be: many who look cost no more than one.
	snapshotLife = time.Second
)

// snapshot is all live jobs at a moment, those first that are not over.
type snapshot struct {
	mu   sync.Mutex // guards everything below
	at   time.Time
	jobs []Job
}

func (s *snapshot) get(jobs func() []Job) []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); s.at.IsZero() || now.Sub(s.at) > snapshotLife {
		all := jobs()
		s.at, s.jobs = now, make([]Job, 0, len(all))
		for _, over := range []bool{false, true} {
			for i := range all {
				if all[i].over() == over {
					s.jobs = append(s.jobs, all[i])
				}
			}
		}
	}
	return s.jobs
}

func (j *Job) over() bool { return j.State != Running && j.State != Unknown }

// jobsView is a list of jobs.
type jobsView struct {
	Search   string
	State    string // empty: all
	States   []stateLink
	Rows     []jobRow
	All      int  // that this person may see
	Everyone bool // jobs of all submitters
	pager
}

type stateLink struct {
	State, Address string
	Count          int
}

// jobRow is a job in words.
type jobRow struct {
	Job
	progress
	For string // whom
}

// progress is how far a job is, in numbers for a bar and in words.
type progress struct {
	Known   bool // how many units are done
	Percent int
	Left    string // how long it takes yet; empty: not known, or nothing is left
	Speed   string // units a second or, where they are long, an hour
}

func rowOf(j Job) jobRow {
	return jobRow{Job: j, progress: progressOf(j), For: program.OwnerOr(j.Owner, j.Submitter.String())}
}

func progressOf(j Job) progress {
	p := progress{Known: j.State != Unknown && j.State != Cancelled}
	if p.Known && j.Units > 0 {
		p.Percent = int(100 * (j.Accepted + j.Failed + j.Conflict) / j.Units)
	}
	if j.State == Running && j.Rate > 0 {
		p.Left, p.Speed = pace.Left(j.Open, j.Rate), speed(j.Rate)
	}
	return p
}

// speed is a rate above 0 in a unit in which it is no tiny number.
func speed(rate float64) string {
	for _, per := range []struct {
		seconds float64
		name    string
	}{{1, "s"}, {60, "min"}, {3600, "h"}} {
		if n := rate * per.seconds; n >= 1 || per.name == "h" {
			if n >= 100 {
				return number(uint64(math.Round(n))) + "/" + per.name
			}
			return fmt.Sprintf("%.3g/%s", n, per.name)
		}
	}
	return ""
}

func (p *Page) jobs(query url.Values, l *login) *jobsView {
	v := &jobsView{pager: pager{Noun: "job"}, Search: clip(strings.TrimSpace(query.Get("q"))), State: query.Get("state"), Everyone: l.operator()}
	if !slices.Contains(States(), v.State) {
		v.State = ""
	}
	var found []*Job
	counts := map[string]int{}
	all := p.snapshot.get(p.o.Grid.Jobs)
	for i := range all {
		j := &all[i]
		if !l.may(j.Submitter) {
			continue
		}
		v.All++
		if v.Search != "" && !matches(j, v.Search) {
			continue
		}
		counts[j.State]++
		if v.State == "" || v.State == j.State {
			found = append(found, j)
		}
	}
	keep := func(state string) map[string]string { return map[string]string{"q": v.Search, "state": state} }
	from, to := v.page(len(found), jobsAPage, query, "/jobs", keep(v.State))
	for _, j := range found[from:to] {
		v.Rows = append(v.Rows, rowOf(*j))
	}
	sum := 0
	for _, state := range States() {
		sum += counts[state]
		if counts[state] > 0 || v.State == state {
			v.States = append(v.States, stateLink{State: state, Address: address("/jobs", keep(state), 1), Count: counts[state]})
		}
	}
	v.States = slices.Insert(v.States, 0, stateLink{Address: address("/jobs", keep(""), 1), Count: sum})
	return v
}

// clip cuts a text that somebody typed.
func clip(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxSearch)], "") }

// matches reports whether a job is one that somebody searches for: by its name, its submitter, or the beginning of
// its ID.
func matches(j *Job, text string) bool {
	text = strings.ToLower(text)
	return strings.Contains(strings.ToLower(j.Name), text) || strings.Contains(strings.ToLower(j.Owner), text) ||
		strings.HasPrefix(j.ID.String(), text) || strings.HasPrefix(j.Submitter.String(), text)
}

// findJob finds the job that an address names by its whole ID or at least six digits of it.
func (p *Page) findJob(name string, l *login) (Job, error) {
	const least = 6
	missing := jobs.WithHint(jobs.Errorf(jobs.NotFound, "no live job %.80q of yours is known here", name),
		"One that has expired is forgotten.")
	if len(name) < least {
		return Job{}, missing
	}
	var found []Job
	for _, j := range p.snapshot.get(p.o.Grid.Jobs) {
		if l.may(j.Submitter) && strings.HasPrefix(j.ID.String(), strings.ToLower(name)) {
			found = append(found, j)
		}
	}
	switch len(found) {
	case 0:
		return Job{}, missing
	case 1:
		return found[0], nil
	}
	return Job{}, jobs.Errorf(jobs.NotFound, "%q is the beginning of %d job IDs", name, len(found))
}
