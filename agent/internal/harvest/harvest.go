package harvest

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/jobs"
)

const (
	// fast is how often signals are looked at while something runs, beside the events that tell of a change; slow
	// otherwise, since starting late costs nobody anything, and each look wakes the processor. slow is below
	// signals.Stale and maxGap.
	fast = 50 * time.Millisecond
	slow = 3 * time.Second
	// second is how often what is averaged is looked at, at most.
	second = time.Second
	// lone is how often an agent without an owner looks at its pause and saves its figures.
	lone = time.Minute
	// policyEvery is how often the policy's files are looked at.
	policyEvery = 5 * time.Second
	// maxPause bounds a pause with an end.
	maxPause = 31 * 24 * time.Hour
)

// Signals is what sees the owner.
type Signals interface {
	Observe(now time.Time) signals.Observation
	Changed() <-chan struct{} // something that cannot wait for the next look
}

// Options say how a Harvest is made.
type Options struct {
	Signals Signals       // nil: the machine has no owner
	Policy  *policy.Store // nil: likewise
	State   *os.Root      // the state folder
	Cores   int           // at most
	Machine int           // cores of the machine; 0: as the system says
	// Apply makes a decision true and returns when it is: the last executor that has to stop has stopped. What it could
	// not do is tried again at the next look. It is called by one goroutine, and need not be quick to start things.
	Apply func(Decision) error
	// Offered is told how many cores others may know of, when that changes; nil: nobody is.
	Offered func(cores int)
	// OfferEvery is how often that is at most; 0: OfferEvery where there is an owner.
	OfferEvery time.Duration
	// Wrote is how many bytes of blobs were written so far; nil: none ever are.
	Wrote func() int64
	// OwnCPU is the CPU time that the agent and its units have used so far; nil: Samples know of others only.
	OwnCPU func() time.Duration
	// SaveEvery is how often the figures are written at most, while they change; 0: once an hour.
	SaveEvery time.Duration
	Log       *slog.Logger
}

// Harvest watches, decides, applies, measures and remembers.
type Harvest struct {
	o     Options
	phase time.Time     // when a period in which the offer stays began, by chance
	woken chan struct{} // holds a token when a look cannot wait

	// Of the goroutine of Run.
	state   State
	applied *Decision // nil: the last one could not be
	offer   Offer
	offered int       // told last
	looked  time.Time // at the policy's files
	sampled time.Time
	disturb disturbances
	failing bool // Apply failed last

	mu      sync.Mutex // guards everything below
	working bool
	command Command
	last    Decision
	since   time.Time // of its reason
	history history
	busy    busy
	figures Figures
	unseen  bool      // what others wait for
	kept    Figures   // those on disk
	changed bool      // figures, since they were saved
	saved   time.Time // zero: not by this process
	wrong   error     // with the policy
}

// New reads what was kept in the state folder. A pause that cannot be read counts as one until the owner resumes.
func New(o Options) (*Harvest, error) {
	h := &Harvest{o: o, woken: make(chan struct{}, 1), phase: time.Now().Add(-rand.N(OfferEvery))}
	if o.Machine == 0 {
		h.o.Machine = runtime.NumCPU()
	}
	if o.OfferEvery == 0 && o.Signals != nil {
		h.o.OfferEvery = OfferEvery
	}
	h.o.SaveEvery = cmp.Or(o.SaveEvery, saveEvery)
	h.unseen = true
	if others, ok := o.Signals.(waiting); ok {
		_, known := others.Waited()
		h.unseen = !known
	}
	if err := load(o.State, pauseFile, &h.command); err != nil {
		o.Log.Warn("paused, because the last pause cannot be read", "err", err, "hint", "resume, and it is written anew")
		h.command = Command{Paused: true}
	}
	if err := load(o.State, figuresFile, &h.figures); jobs.KindOf(err) == jobs.Corrupt {
		o.Log.Warn("figures begin anew", "err", err)
		h.figures = Figures{}
	} else if err != nil {
		return nil, err
	}
	h.kept = h.figures.clone()
	return h, nil
}

// Run decides until ctx ends, then saves the figures. It returns an error only if that fails. What was applied last
// stays: whoever ends Run ends the work, too.
func (h *Harvest) Run(ctx context.Context) error {
	var changed <-chan struct{}
	if h.o.Signals != nil {
		changed = h.o.Signals.Changed()
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return h.save(time.Now())
		case <-changed:
		case <-h.woken:
		case <-timer.C:
		}
		timer.Reset(h.step(time.Now()))
	}
}

// step looks once and returns when to look again.
func (h *Harvest) step(now time.Time) time.Duration {
	h.mu.Lock()
	command, working, due := h.command, h.working, h.changed && now.Sub(h.saved) >= h.o.SaveEvery
	h.mu.Unlock()
	in := Input{Now: now, Cores: h.o.Machine, Most: h.o.Cores, Command: command, NoOwner: h.o.Signals == nil}
	if !in.NoOwner {
		in.Policy = h.policy(now)
		in.Seen = h.o.Signals.Observe(now)
		h.sample(in.Seen.Others, now)
		h.attend(working, now)
	}
	d, state := Decide(in, h.state)
	h.state = state
	h.apply(d)
	h.tell(d, now)
	if due {
		if err := h.save(now); err != nil {
			h.o.Log.Warn("cannot save the figures of the owner's side", "err", err)
		}
	}
	switch {
	case in.NoOwner:
		return lone
	case working && d.Cores > 0, h.failing:
		return fast
	}
	return slow
}

func (h *Harvest) sample(others signals.Reading[float64], now time.Time) {
	if !others.Known(now) || now.Sub(h.sampled) < second {
		return
	}
	h.sampled = now
	var own time.Duration
	if h.o.OwnCPU != nil {
		own = h.o.OwnCPU()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy.look(now, others.Value, own)
}

// policy returns what the policy says, nil where none ever was good.
func (h *Harvest) policy(now time.Time) *policy.Values {
	if now.Sub(h.looked) >= policyEvery || now.Before(h.looked) {
		h.looked = now
		h.o.Policy.Refresh()
	}
	p, err := h.o.Policy.Policy()
	h.mu.Lock()
	news := err != nil && (h.wrong == nil || h.wrong.Error() != err.Error())
	h.wrong = err
	h.mu.Unlock()
	if news {
		h.o.Log.Warn("the policy has errors, the last good one stands", "err", err)
	}
	if p == nil {
		return nil
	}
	return &p.Values
}

// apply makes a decision true, if it is another one than before, and measures how long the owner had to wait.
func (h *Harvest) apply(d Decision) {
	if a := h.applied; a != nil && a.Cores == d.Cores && a.GiveBack == d.GiveBack && a.Memory == d.Memory &&
		a.Disk == d.Disk && a.Network == d.Network && a.Kept == d.Kept {
		return
	}
	fewer := h.applied != nil && d.Cores < h.applied.Cores
	before := time.Now()
	err := h.o.Apply(d)
	stop := time.Since(before)
	if err != nil {
		h.applied = nil
		if !h.failing {
			h.o.Log.Error("cannot do what was decided", "cores", d.Cores, "why", d.Reason, "err", err)
		}
		h.failing = true
		return
	}
	h.applied, h.failing = &d, false
	h.mu.Lock()
	defer h.mu.Unlock()
	if !fewer || !h.working {
		return
	}
	h.changed = true
	h.figures.Stop.Observe(stop)
	if d.Input.IsZero() {
		return
	}
	detect := before.Sub(d.Input)
	h.figures.Detect.Observe(detect)
	h.figures.Sum.Observe(detect + stop)
	if detect+stop > tooLate {
		h.figures.disturbed(Late)
	}
}

// tell remembers a decision, and says what others may know of it.
func (h *Harvest) tell(d Decision, now time.Time) {
	h.mu.Lock()
	if h.history = h.history.add(d, now); h.last.Reason != d.Reason || h.since.IsZero() {
		h.since = now
	}
	h.last = d
	h.mu.Unlock()
	h.offer = h.offer.Next(d.Cores, now.Sub(h.phase), h.o.OfferEvery)
	if h.offer.Cores != h.offered && h.o.Offered != nil {
		h.offered = h.offer.Cores
		h.o.Offered(h.offered)
	}
}

// save writes the figures if they changed.
func (h *Harvest) save(now time.Time) error {
	h.mu.Lock()
	if !h.changed {
		h.mu.Unlock()
		return nil
	}
	figures := h.figures.dated(now, &h.kept)
	h.changed, h.saved = false, now
	h.mu.Unlock()
	err := save(h.o.State, figuresFile, figures)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.changed = true
		return err
	}
	h.kept = figures
	return nil
}

func (h *Harvest) wake() {
	select {
	case h.woken <- struct{}{}:
	default: // a look is due anyway
	}
}

// Working says whether units run. While they do, signals are looked at often.
func (h *Harvest) Working(yes bool) {
	h.mu.Lock()
	news := yes != h.working
	h.working = yes
	h.mu.Unlock()
	if news {
		h.wake()
	}
}

// Pause freezes all work until a time, or for zero until the owner resumes. It holds at once, and after a restart if no
// error is returned.
func (h *Harvest) Pause(until time.Time) error { return h.pause(Command{Paused: true, Until: until}) }

// StopJobs gives all work back at once and pauses like Pause.
func (h *Harvest) StopJobs(until time.Time) error {
	return h.pause(Command{Paused: true, Until: until, Drop: true})
}

func (h *Harvest) pause(c Command) error {
	if wait := time.Until(c.Until); !c.Until.IsZero() && (wait <= 0 || wait > maxPause) {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "a pause until %s: expected a time within the next 31 days", c.Until.Format(time.DateTime)),
			"pause without a time holds until you resume")
	}
	return h.say(c)
}

// Resume ends the owner's pause, and nothing else that keeps work from running: Status tells what does.
func (h *Harvest) Resume() error { return h.say(Command{}) }

func (h *Harvest) say(c Command) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.command = c
	h.wake()
	// Written under the lock, so that of two callers at a time the later one is kept, too.
	return save(h.o.State, pauseFile, c)
}

// SetPolicy sets a key of the owner's layer of the policy, as a file has it, or takes it out for nil. It holds at once. The
// errors are those of policy.Store.SetOwner; without an owner it is one of kind jobs.Unsupported.
func (h *Harvest) SetPolicy(key string, value *string) error {
	if h.o.Policy == nil {
		return jobs.WithHint(jobs.Errorf(jobs.Unsupported, "this machine has no owner whose policy could count"),
			"an agent of class always-on works unless it is paused: gridagent pause")
	}
	if err := h.o.Policy.SetOwner(h.o.State, key, value); err != nil {
		return err
	}
	h.wake()
	return nil
}

// Ended counts a unit that ended here, after so much CPU time. That of one that failed was of no use.
func (h *Harvest) Ended(cpu time.Duration, failed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if failed {
		h.figures.Failed++
	} else {
		h.figures.ended(cpu, time.Now())
	}
	h.changed = true
}

// Status is what is so now.
type Status struct {
	Decision Decision
	Since    time.Time // of the decision's reason
	Command  Command   // the owner's; see Paused
	Paused   bool
	Figures  Figures
	Unseen   bool          // nothing here tells what others wait for: Swapped and Stalled are not counted
	Today    time.Duration // CPU time of useful work
	Month    time.Duration
	Policy   *policy.Policy // the last good one; nil: none, or no owner
	Wrong    error          // with the policy's files; nil: nothing
}

// Unknown reports whether a kind of disturbance may have happened without having been seen.
func (s *Status) Unknown(kind Disturbance) bool {
	return s.Unseen && kind != Late && s.Figures.Disturbed[kind] == 0
}

// Status says what is so now. Before the first look its decision is none.
func (h *Harvest) Status() Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	s := Status{
		Decision: h.last, Since: h.since, Command: h.command, Paused: h.command.holds(now), Figures: h.figures.clone(), Unseen: h.unseen,
	}
	s.Today, s.Month = h.figures.Harvest(now)
	if h.o.Policy != nil {
		s.Policy, s.Wrong = h.o.Policy.Policy()
	}
	return s
}

// HasOwner reports whether somebody may use this machine.
func (h *Harvest) HasOwner() bool { return h.o.Signals != nil }

// Shown returns the figures that others may see: those on disk. They never go back, whatever ends this process; those of
// Status do, by what was not saved yet. Of a machine with an owner they are as they were when the PC's day began: what
// changes today, and when, would tell that somebody came or went.
func (h *Harvest) Shown(now time.Time) Figures {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.HasOwner() && h.kept.Before != nil && h.kept.Day >= now.Format(time.DateOnly) {
		return h.kept.Before.clone()
	}
	return h.kept.clone()
}

// History returns the last day's decisions, the oldest first.
func (h *Harvest) History() []Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.history)
}

// Samples returns what the last day's processor time was used for, the oldest first. Times in which the PC slept, or
// nobody looked, are missing.
func (h *Harvest) Samples() []Sample {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.busy.samples)
}
