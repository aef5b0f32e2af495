package owner

import (
	"context"
	"runtime"
	"slices"
	"strings"
	"time"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/peer"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

const (
	// maxText bounds a text that people wrote, in bytes: a policy's errors for instance.
	maxText = 16 << 10
	// maxTexts bounds lists of texts.
	maxTexts = 256
	// morning is the hour at which tomorrow begins for whoever pauses until then: at midnight people still work.
	morning = 6
)

// Options say what an Owner speaks for.
type Options struct {
	Grid    string // what people call the grid
	Class   peer.Class
	Cores   int // those that the agent was given
	Harvest *harvest.Harvest
	// Work adds what runs and why slots are free.
	Work    func(ctx context.Context, to *gridv1.AgentStatus)
	History *History
	Yields  func() string // how work is stopped and held down here; nil: nobody says
	Metrics string        // address of the page for Prometheus; empty: there is none
}

// Owner answers the owner's questions. Its methods ask nobody who calls.
type Owner struct{ o Options }

// New returns an Owner.
func New(o Options) *Owner { return &Owner{o: o} }

// Tomorrow returns when a pause until tomorrow ends.
func Tomorrow(now time.Time) time.Time {
	y, m, d := now.Date()
	return time.Date(y, m, d+1, morning, 0, 0, 0, now.Location())
}

// Look tells what is so now.
func (o *Owner) Look(ctx context.Context) *gridv1.LookReply {
	s := o.o.Harvest.Status()
	work := &gridv1.AgentStatus{}
	o.o.Work(ctx, work)
	r := &gridv1.LookReply{
		Grid: o.o.Grid, Class: o.o.Class.String(), Cores: uint32(s.Decision.Cores), OfCores: uint32(o.o.Cores),
		SinceMs: ms(s.Since), UntilMs: ms(s.Decision.Until), Running: work.GetRunning(), Idle: work.GetIdle(),
		TodayMs: uint64(s.Today.Milliseconds()), MonthMs: uint64(s.Month.Milliseconds()),
		Metrics: o.o.Metrics, Detect: times(&s.Figures.Detect), Stop: times(&s.Figures.Stop), Sum: times(&s.Figures.Sum),
	}
	r.State, r.Why = state(s, work)
	if s.Paused {
		r.Pause = &gridv1.OwnerPause{UntilMs: ms(s.Command.Until), Stopped: s.Command.Drop}
		r.UntilMs = r.Pause.UntilMs
	}
	for _, rule := range s.Decision.Rules {
		r.Rules = append(r.Rules, &gridv1.OwnerRule{Name: rule.Name, Holds: rule.Holds, Text: rule.Text})
	}
	for _, kind := range harvest.Disturbances() {
		r.Disturbances = append(r.Disturbances, &gridv1.OwnerDisturbance{
			Kind: string(kind), Count: s.Figures.Disturbed[kind], Unknown: s.Unknown(kind),
		})
	}
	if o.o.Yields != nil {
		r.Yields = o.o.Yields()
	}
	if s.Wrong != nil {
		r.PolicyWrong = cut(s.Wrong.Error())
	}
	return r
}

// The states that Look tells.
const (
	Working = "working"
	Waiting = "waiting"
	Paused  = "paused" // by the owner
)

// state says in a word and a sentence what the agent does.
func state(s harvest.Status, work *gridv1.AgentStatus) (word, why string) {
	why = s.Decision.Why
	switch {
	case s.Paused && s.Decision.Cores > 0: // the loop has not looked since
		return Paused, "Paused by the owner"
	case s.Paused:
		return Paused, why
	case why == "":
		return Waiting, "The agent starts just now"
	case s.Decision.Cores > 0 && len(work.GetRunning()) > 0:
		return Working, why
	case s.Decision.Cores > 0 && len(work.GetIdle()) > 0:
		return Waiting, "Nothing to do: " + work.GetIdle()[0]
	}
	return Waiting, why
}

// Why lists the last day's decisions, the oldest first.
func (o *Owner) Why() *gridv1.WhyReply {
	r := &gridv1.WhyReply{}
	for _, e := range o.o.Harvest.History() {
		r.Decisions = append(r.Decisions, &gridv1.OwnerDecision{
			FromMs: ms(e.From), Mode: string(e.Mode), Cores: uint32(e.Cores), Why: e.Reason,
		})
	}
	return r
}

// Pause freezes all work until a time, or for zero until Resume.
func (o *Owner) Pause(until time.Time) error { return o.o.Harvest.Pause(until) }

// StopJobs gives all work back at once, and pauses like Pause.
func (o *Owner) StopJobs(until time.Time) error { return o.o.Harvest.StopJobs(until) }

// Resume ends the owner's pause and reports whether there was one.
func (o *Owner) Resume() (bool, error) {
	paused := o.o.Harvest.Status().Paused
	return paused, o.o.Harvest.Resume()
}

// Samples tells what the last day's processor time was used for, and how many cores the PC has.
func (o *Owner) Samples() ([]harvest.Sample, int) { return o.o.Harvest.Samples(), runtime.NumCPU() }

// History lists jobs that ran here and who looked at this PC, the newest first. An error is of the disk.
func (o *Owner) History(limit, skip int) (*gridv1.HistoryReply, error) {
	return o.o.History.list(limit, skip)
}

// Looked notes that somebody asked something.
func (o *Owner) Looked(who, what string) { o.o.History.Looked(who, what) }

// Policy tells what counts and who says it.
func (o *Owner) Policy() *gridv1.PolicyReply {
	s := o.o.Harvest.Status()
	r := &gridv1.PolicyReply{}
	if s.Wrong != nil {
		r.Wrong = cut(s.Wrong.Error())
	}
	if s.Policy == nil {
		return r
	}
	for _, w := range s.Policy.Warnings[:min(len(s.Policy.Warnings), maxTexts)] {
		r.Warnings = append(r.Warnings, cut(w))
	}
	for _, v := range s.Policy.Settings {
		r.Settings = append(r.Settings, settingOf(v))
	}
	return r
}

func settingOf(v policy.Setting) *gridv1.OwnerSetting {
	return &gridv1.OwnerSetting{
		Key: v.Key, Value: cut(v.Value), Layer: string(v.Layer), File: v.File, Line: uint32(v.Line), Locked: v.Lock != "",
	}
}

// SetPolicy sets a key of the owner's policy, or takes it out for nil, and tells what counts now.
func (o *Owner) SetPolicy(key string, value *string) (*gridv1.SetPolicyReply, error) {
	if err := o.o.Harvest.SetPolicy(key, value); err != nil {
		return nil, err
	}
	s, r := o.o.Harvest.Status(), &gridv1.SetPolicyReply{}
	if s.Wrong != nil {
		r.Wrong = cut(s.Wrong.Error())
	}
	if s.Policy != nil {
		if v, ok := s.Policy.Setting(key); ok {
			r.Setting = settingOf(v)
		}
	}
	return r, nil
}

// until reads when a pause ends; zero: when the owner resumes.
func until(r *gridv1.PauseRequest, now time.Time) (time.Time, error) {
	switch at, wait := r.GetUntilMs(), r.GetForMs(); {
	case at != 0 && wait != 0:
		return time.Time{}, jobs.Errorf(jobs.Invalid, "a pause for %d ms and until %d: expected one of them", wait, at)
	case at != 0:
		return time.UnixMilli(at), nil
	case wait != 0:
		return now.Add(time.Duration(min(wait, maxPauseMs)) * time.Millisecond), nil
	}
	return time.Time{}, nil
}

// maxPauseMs keeps a time from overflowing; package harvest has the real bound.
const maxPauseMs = 1 << 40

func times(h *harvest.Histogram) *gridv1.OwnerTimes {
	us := func(d time.Duration) uint64 { return uint64(d.Microseconds()) }
	t := &gridv1.OwnerTimes{Count: h.Count(), P50Us: us(h.Quantile(0.5)), P99Us: us(h.Quantile(0.99)), MaxUs: us(h.Max)}
	for i, bound := range append(slices.Clone(harvest.Bounds()), 0) {
		t.Buckets = append(t.Buckets, &gridv1.OwnerBucket{MostUs: us(bound), Count: h.Counts[i]})
	}
	return t
}

// ms writes a time of the protocol; a zero one is 0.
func ms(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func cut(text string) string { return strings.ToValidUTF8(text[:min(len(text), maxText)], "?") }
