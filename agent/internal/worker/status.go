package worker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
)

// maxReasons bounds the reasons that are told.
const maxReasons = 20

// Status is what a worker does at one moment.
type Status struct {
	Slots   int
	Offered int // how many of them may be used now
	Running []Running
	Queued  int      // units that wait for a slot
	Held    int      // bundles
	Unkept  int      // bytes of outcomes that are in no durable report
	Reports int      // that not enough stewards have kept
	Idle    []string // why slots that may be used are free, a sentence each
}

// Running is a unit in a slot.
type Running struct {
	Job   records.Job
	Unit  uint64
	Since time.Time
	// Done is what the program says it has done, from 0 to 1; nil: nothing.
	Done       *float64
	Saved      time.Time // when the last checkpoint of this run came; zero: none did
	SavedBytes int64
	Resumed    bool // it went on from a checkpoint
	Frozen     bool // it does not go on now, and may later
}

// Status asks the worker what it does. It waits for the worker's next step, until ctx ends.
func (w *Worker) Status(ctx context.Context) (Status, error) {
	var s Status
	err := w.do(ctx, func(now time.Time) { s = w.status(now) })
	return s, err
}

// do has the worker's goroutine call f, and returns when it has.
func (w *Worker) do(ctx context.Context, f event) error {
	done := make(chan struct{})
	select {
	case w.events <- func(now time.Time) {
		defer close(done)
		f(now)
	}:
		<-done
		return nil
	case <-ctx.Done():
		return jobs.Errorf(jobs.Unavailable, "the worker takes no questions: %w", context.Cause(ctx))
	}
}

// SetLeaving makes the worker give its units back and take no more, or take work again. What is finished is
// reported in either case.
func (w *Worker) SetLeaving(ctx context.Context, leaving bool) error {
	return w.do(ctx, func(time.Time) { w.leaving = leaving }) // the step that follows does the rest
}

func (w *Worker) status(now time.Time) Status {
	s := Status{Slots: w.o.Slots, Offered: w.slots(), Unkept: w.backlog}
	for r := range w.running {
		u := Running{Job: r.shard.job, Unit: r.current.Load().unit, Since: r.since, Frozen: r.frozen.Load()}
		if r.saver != nil {
			r.saver.describe(&u)
		}
		s.Running = append(s.Running, u)
	}
	slices.SortFunc(s.Running, func(a, b Running) int { return a.Since.Compare(b.Since) })
	for _, sh := range w.shards {
		s.Queued += len(sh.queue)
		s.Held += len(sh.bundles)
	}
	for _, p := range w.reports {
		if p.until.IsZero() {
			s.Reports++
		}
	}
	if len(s.Running) < s.Slots || s.Offered < s.Slots {
		s.Idle = w.idle(now)
	}
	return s
}

// idle says why slots are free.
func (w *Worker) idle(now time.Time) []string {
	switch {
	case w.stopping:
		return []string{"the agent is stopping"}
	case w.leaving:
		return []string{"the agent leaves the grid"}
	case w.o.Disk() != nil:
		return []string{"cannot write to the state folder: " + brief(w.o.Disk())}
	case w.unfit:
		return []string{"the blobs kept here leave no room for outcomes"}
	case w.backlog >= maxBacklog:
		return []string{fmt.Sprintf("%d MiB of results wait for agents that keep them", w.backlog>>20)}
	case len(w.running) >= w.slots():
		return nil // whoever offers no more knows why
	case len(w.shards) == 0:
		return []string{"no live job is known here"}
	}
	var reasons []string
	done := 0
	for _, s := range w.inTurn(now, func(*shard) bool { return true }) {
		why := w.whyIdle(s, now)
		switch {
		case why == "":
			done++
		case !slices.Contains(reasons, why) && len(reasons) < maxReasons:
			reasons = append(reasons, why)
		}
	}
	if len(reasons) == 0 && done > 0 {
		reasons = append(reasons, "no open units in any live job")
	}
	return reasons
}

// whyIdle says why a shard gives no unit to a free slot; empty: it has no open units.
func (w *Worker) whyIdle(s *shard, now time.Time) string {
	name := s.job.Manifest.Name
	p := w.programs[s.id.Job]
	switch {
	case s.refusal != nil:
		return fmt.Sprintf("job %s is refused here: %s", name, brief(s.refusal))
	case !w.fits(s) && (len(s.queue) > 0 || s.open > 0 || s.answered.IsZero()):
		return fmt.Sprintf("memory: a unit of job %s may have %d MiB, and %d MiB are left for units here",
			name, (s.memory()+1<<20-1)>>20, w.memoryLeft(func(*run) bool { return true })>>20)
	case now.Before(s.restUntil):
		return fmt.Sprintf("job %s rests here for %s after a fault: %s", name, s.restUntil.Sub(now).Round(time.Second), s.fault)
	case len(peer.Stewards(s.id, w.o.Members())) == 0:
		return "no agent here can be a steward"
	case s.failures > 0:
		return fmt.Sprintf("no steward of job %s answers: %s", name, s.silence)
	case len(s.queue) > 0 && p != nil && p.loading:
		return fmt.Sprintf("the program of job %s is being fetched and compiled", name)
	case len(s.queue) > 0 && !w.heardLately(s, now):
		return fmt.Sprintf("no steward of job %s answered lately", name)
	case len(s.queue) > 0:
		return fmt.Sprintf("units of job %s start now", name)
	case s.answered.IsZero() || s.asking:
		return fmt.Sprintf("asking for units of job %s", name)
	case s.open > 0:
		return fmt.Sprintf("the steward of job %s lends none of its %d open units now", name, s.open)
	}
	return ""
}

// brief is what is kept of an error's text for people.
func brief(err error) string { return strings.ToValidUTF8(firstLine(err.Error()), "?") }
