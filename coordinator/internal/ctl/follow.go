package ctl

import (
	"cmp"
	"context"
	"slices"
	"time"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
)

const (
	// pollEvery is how often a job that is waited for is looked at.
	pollEvery = 500 * time.Millisecond
	// refreshEvery is how often the pool is looked at meanwhile, since stewards come and go, and the records of
	// a job of which stewards do not say the same.
	refreshEvery = 10 * time.Second
)

// follower looks at jobs again and again.
type follower struct {
	g         *grid
	list      []records.Job
	every     bool      // job of this person: what is submitted meanwhile is taken in
	refreshed time.Time // when the pool was looked at
	settled   time.Time // when records were
	over      map[jobs.JobID]jobStatus
}

func newFollower(g *grid, list []records.Job) *follower {
	return &follower{g: g, list: list, refreshed: time.Now(), over: map[jobs.JobID]jobStatus{}}
}

// until calls show after each look, until no unit of the jobs is open. It returns what they came to.
func (f *follower) until(ctx context.Context, show func([]jobStatus) error) ([]jobStatus, error) {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		all := f.look(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := show(all); err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(all, func(s jobStatus) bool { return !s.over() }) {
			return all, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// look returns the state of the jobs now. Those that are over are not asked for again.
func (f *follower) look(ctx context.Context) []jobStatus {
	if time.Since(f.refreshed) > refreshEvery {
		f.refresh(ctx)
	}
	var ask []records.Job
	for _, job := range f.list {
		if _, over := f.over[job.ID]; !over {
			ask = append(ask, job)
		}
	}
	found := f.g.statuses(ctx, ask)
	settle := time.Since(f.settled) > refreshEvery
	for i := range found {
		s := &found[i]
		if settle && s.perhaps && !s.agreed {
			f.g.settle(ctx, ask[i], s)
			f.settled = time.Now()
		}
		if s.over() {
			f.over[s.id] = *s
		}
		if s.State == stateUnknown {
			f.refreshed = time.Time{}
		}
	}
	return f.inOrder(found)
}

// inOrder returns the states in the order of the list.
func (f *follower) inOrder(found []jobStatus) []jobStatus {
	all := make([]jobStatus, 0, len(f.list))
	for _, job := range f.list {
		s, over := f.over[job.ID]
		if over {
			s.State = cmp.Or(f.g.ended(s.id, s.Expires), s.State) // it may be sealed now
		} else {
			s = found[slices.IndexFunc(found, func(s jobStatus) bool { return s.id == job.ID })]
		}
		all = append(all, s)
	}
	return all
}

// refresh learns who is in the pool and what became of the jobs. Where nobody answers now, what was known stays:
// the jobs do not depend on it.
func (f *follower) refresh(ctx context.Context) {
	if f.g.findPeers(ctx) != nil || f.g.loadJobs(ctx) != nil {
		return
	}
	f.refreshed = time.Now()
	if f.every {
		f.list = f.g.store.Jobs(false)
	}
}

// follow waits until no unit of the jobs is open, and shows how far they are.
func (a *app) follow(ctx context.Context, g *grid, list []records.Job) ([]jobStatus, error) {
	show := a.startProgress("agent")
	defer show.Close()
	return newFollower(g, list).until(ctx, func(all []jobStatus) error {
		var done, failed, total uint64
		agents := 0
		for _, s := range all {
			if s.State == stateUnknown {
				return nil // nobody answers now
			}
			done += min(s.Accepted+s.Failed+s.Conflict, s.Units)
			failed += s.Failed
			total += s.Units
			agents = max(agents, s.Agents)
		}
		show.Update(done, failed, total, agents)
		return nil
	})
}

// verdict says what jobs that are over came to, and returns an error if one is not complete.
func (a *app) verdict(all []jobStatus) error {
	incomplete := 0
	for _, s := range all {
		a.say("job %s %s", s.id.Short(), s.sentence())
		if !s.complete() {
			incomplete++
		}
	}
	if incomplete == 0 {
		return nil
	}
	err := jobs.Errorf(jobs.Internal, "%d of %s not complete", incomplete, count(len(all), "job"))
	if len(all) == 1 {
		err = jobs.Errorf(jobs.Internal, "job %s is not complete", all[0].id.Short())
	}
	return &incompleteError{err}
}

// sentence says what a job has come to, such as "(tour): 12 units accepted, results kept until 2027-01-31".
func (s *jobStatus) sentence() string {
	text := "(" + clean(s.Name) + "): "
	switch s.State {
	case stateCancelled:
		return text + "cancelled"
	case stateExpired:
		return text + "expired on " + day(s.Expires)
	case stateSealed:
		return text + "sealed, its results were fetched"
	case stateUnknown:
		return text + "no steward answers"
	case stateDone:
		text += count(s.Units, "unit") + " accepted"
	default:
		text += s.doneText() + " units accepted"
	}
	if s.Failed > 0 {
		text += ", " + count(s.Failed, "unit") + " failed"
	}
	return text + ", results kept until " + day(s.Expires)
}
