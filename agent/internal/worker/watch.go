package worker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

const (
	// stallAfter is how long a unit may take no CPU time before it had better run elsewhere; leastCPU is what counts
	// as some: a child that is blocked takes a little all the same.
	stallAfter = 2 * time.Minute
	leastCPU   = 100 * time.Millisecond
)

// errStalled is the cause with which a unit is cancelled that takes no CPU time.
var errStalled = errors.New("the unit takes no CPU time here")

// watch is what shows that a unit gets on. What its program says of itself does not count.
type watch struct {
	mu  sync.Mutex // guards everything below
	cpu time.Duration
	at  time.Time // when it was last seen to have taken some; zero: the Runner does not say
}

// used takes the CPU time of a unit's child.
func (w *watch) used(cpu time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at.IsZero() || cpu-w.cpu >= leastCPU {
		w.cpu, w.at = cpu, time.Now()
	}
}

// rest forgets what was seen, where time went by in which nothing could run.
func (w *watch) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = time.Time{}
}

func (w *watch) since() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

// stalled reports whether a unit has taken no CPU time and given no checkpoint for a while.
func (r *run) stalled(now time.Time) bool {
	if r.watch == nil || r.frozen.Load() {
		return false
	}
	last := r.watch.since()
	if last.IsZero() {
		return false
	}
	if r.saver != nil {
		_, at, _ := r.saver.last()
		last = later(last, at)
	}
	return now.Sub(last) >= stallAfter
}

// stopStalled gives units back that are stuck here. Their job rests here for a while, so that others take them.
func (w *Worker) stopStalled(now time.Time) {
	for r := range w.running {
		if !r.stalled(now) || r.current.Load().bundle.dropped {
			continue
		}
		t := r.current.Load()
		w.log.Warn("a unit takes no CPU time, giving it back", "unit", jobs.UnitID{Job: r.shard.id.Job, Unit: t.unit}, "for", stallAfter)
		w.dropFor(r.shard, t.bundle.number, errStalled)
		r.shard.restUntil = later(r.shard.restUntil, now.Add(restAfterFault))
		r.shard.fault = fmt.Sprintf("unit %d took no CPU time for %s", t.unit, stallAfter)
	}
}

// maxNamed bounds what a failure says of inputs, in bytes.
const maxNamed = 512

// withInputs names the inputs of a unit that took its executor down, so that whoever is told can try it again alone.
// What it wrote to standard error until then is in its outcome.
func withInputs(f jobs.Failure, p *executor.Program) jobs.Failure {
	if f.Kind != jobs.FailureCrash || p == nil {
		return f
	}
	names := "none"
	for i, in := range p.Inputs {
		if i == 0 {
			names = in.Path
		} else if names += ", " + in.Path; len(names) > maxNamed {
			names = strings.ToValidUTF8(names[:maxNamed], "") + fmt.Sprintf(" … of %d", len(p.Inputs))
			break
		}
	}
	suffix := "\nits inputs: " + strings.ToValidUTF8(names, "?")
	f.Text = strings.ToValidUTF8(f.Text[:min(len(f.Text), jobs.MaxFailureText-len(suffix))], "") + suffix
	return f
}
