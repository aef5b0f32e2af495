package main

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"idlegrid/agent/program"
	gridv1 "idlegrid/proto/grid/v1"
)

// look is what the agent tells the people at its machine, for them and their scripts.
type look struct {
	Grid        string             `json:"grid"`
	Class       string             `json:"class"`
	State       string             `json:"state"` // working, waiting or paused
	Why         string             `json:"why"`
	Since       *time.Time         `json:"since"`
	Until       *time.Time         `json:"until"` // when it changes by itself; null: not known
	Pause       *ownerPause        `json:"pause"` // null: the owner has not paused
	Cores       uint32             `json:"cores"`
	OfCores     uint32             `json:"of_cores"`
	Rules       []rule             `json:"rules"`
	Units       []unit             `json:"units"`
	Idle        []string           `json:"idle"`
	Today       float64            `json:"today_cpu_seconds"`
	Month       float64            `json:"month_cpu_seconds"`
	Detect      times              `json:"detect"`
	Stop        times              `json:"stop"`
	Sum         times              `json:"sum"`
	Disturbed   map[string]*uint64 `json:"disturbed"` // null: nothing here tells
	Yields      string             `json:"yields,omitempty"`
	PolicyWrong string             `json:"policy_wrong,omitempty"`
	Metrics     string             `json:"metrics,omitempty"` // where they can be read
}

type ownerPause struct {
	Until   *time.Time `json:"until"` // null: until the owner resumes
	Stopped bool       `json:"stopped"`
}

type rule struct {
	Name  string `json:"name"`
	Holds bool   `json:"holds"`
	Text  string `json:"text"`
}

type times struct {
	Count   uint64   `json:"count"`
	P50     float64  `json:"p50_ms"`
	P99     float64  `json:"p99_ms"`
	Max     float64  `json:"max_ms"`
	Buckets []bucket `json:"buckets"`
}

type bucket struct {
	Most  *float64 `json:"most_ms"` // null: no end
	Count uint64   `json:"count"`
}

func lookOf(r *gridv1.LookReply) *look {
	l := &look{
		Grid: r.GetGrid(), Class: r.GetClass(), State: r.GetState(), Why: r.GetWhy(), Since: moment(r.GetSinceMs()), Until: moment(r.GetUntilMs()),
		Cores: r.GetCores(), OfCores: r.GetOfCores(), Rules: []rule{}, Units: unitsOf(r.GetRunning()), Idle: r.GetIdle(),
		Today: float64(r.GetTodayMs()) / 1000, Month: float64(r.GetMonthMs()) / 1000,
		Detect: timesOf(r.GetDetect()), Stop: timesOf(r.GetStop()), Sum: timesOf(r.GetSum()), Disturbed: map[string]*uint64{},
		Yields: r.GetYields(), PolicyWrong: r.GetPolicyWrong(), Metrics: r.GetMetrics(),
	}
	if p := r.GetPause(); p != nil {
		l.Pause = &ownerPause{Until: moment(p.GetUntilMs()), Stopped: p.GetStopped()}
	}
	for _, v := range r.GetRules() {
		l.Rules = append(l.Rules, rule{Name: v.GetName(), Holds: v.GetHolds(), Text: v.GetText()})
	}
	for _, d := range r.GetDisturbances() {
		l.Disturbed[d.GetKind()] = nil
		if n := d.GetCount(); !d.GetUnknown() {
			l.Disturbed[d.GetKind()] = &n
		}
	}
	return l
}

func timesOf(t *gridv1.OwnerTimes) times {
	ms := func(us uint64) float64 { return float64(us) / 1000 }
	out := times{Count: t.GetCount(), P50: ms(t.GetP50Us()), P99: ms(t.GetP99Us()), Max: ms(t.GetMaxUs()), Buckets: []bucket{}}
	for _, b := range t.GetBuckets() {
		one := bucket{Count: b.GetCount()}
		if most := ms(b.GetMostUs()); most > 0 {
			one.Most = &most
		}
		out.Buckets = append(out.Buckets, one)
	}
	return out
}

func unitsOf(list []*gridv1.RunningUnit) []unit {
	out := []unit{}
	for _, u := range list {
		one := unit{
			Job: hex.EncodeToString(u.GetJob()), Name: u.GetName(), Unit: u.GetUnit(),
			Submitter: hex.EncodeToString(u.GetSubmitter()), Owner: u.GetOwner(), Since: program.Moment(u.GetSinceMs()),
			Done: u.Done, Saved: moment(u.GetSavedMs()), Bytes: u.GetSavedBytes(), Resumed: u.GetResumed(), Frozen: u.GetFrozen(),
		}
		out = append(out, one)
	}
	return out
}

// moment reads a time of the protocol; 0 is none.
func moment(ms int64) *time.Time {
	if ms == 0 {
		return nil
	}
	at := program.Moment(ms)
	return &at
}

// head adds what the owner wants to know first.
func (l *look) head(s *program.Sheet, now time.Time) {
	s.Line("work", "%s", l.Why)
	if l.Since != nil {
		s.Line("since", "%s, for %s", l.Since.Local().Format(time.DateTime), program.For(now.Sub(*l.Since)))
	}
	if l.Until != nil {
		s.Line("until", "%s, for %s more", l.Until.Local().Format(time.DateTime), program.For(max(0, l.Until.Sub(now))))
	}
	s.Line("cores", "%d of %d for work", l.Cores, l.OfCores)
	s.Line("harvest", "%s of CPU time today, %s this month", cpu(l.Today), cpu(l.Month))
	s.Line("reaction", "%s", l.reaction())
	s.Line("disturbed", "%s", l.disturbed())
	if l.Yields != "" {
		s.Line("yields by", "%s", l.Yields)
	}
	if l.Metrics != "" {
		s.Line("metrics", "http://%s/metrics tells how often work made way for somebody here, up to yesterday, to whoever can reach it", l.Metrics)
	}
	if l.PolicyWrong != "" {
		s.Line("policy", "has errors, the last good one stands: %s", program.Brief(l.PolicyWrong, 300))
	}
}

// cpu writes seconds of CPU time for people.
func cpu(seconds float64) string { return program.For(time.Duration(seconds * float64(time.Second))) }

// reaction says how fast work stops.
func (l *look) reaction() string {
	if l.Sum.Count == 0 && l.Stop.Count == 0 {
		return "not measured yet: no input came while work ran"
	}
	if l.Sum.Count == 0 {
		return fmt.Sprintf("not measured yet from an input; work stopped within %s of a decision, %s",
			program.Millis(l.Stop.P99), ofTimes(l.Stop.Count))
	}
	return fmt.Sprintf("work stopped within %s of an input, %s (to notice it %s, to stop %s; longest %s)",
		program.Millis(l.Sum.P99), ofTimes(l.Sum.Count), program.Millis(l.Detect.P99), program.Millis(l.Stop.P99), program.Millis(l.Sum.Max))
}

// ofTimes says of how many times something holds for 99 %.
func ofTimes(n uint64) string {
	if n < 100 {
		return "measured " + program.Count(n, "time")
	}
	return "99 % of " + program.Count(n, "time")
}

// disturbed says how often the owner may have noticed work, and of what that is not known.
func (l *look) disturbed() string {
	var parts, unknown []string
	for _, kind := range []struct{ name, text string }{
		{"late", "work stopped later than 250 ms after an input"},
		{"swapped", "others waited for memory while work was here"},
		{"stalled", "others waited for the disk while the grid wrote"},
	} {
		n, told := l.Disturbed[kind.name]
		switch {
		case told && n == nil:
			unknown = append(unknown, kind.text)
		case told && *n > 0:
			parts = append(parts, fmt.Sprintf("%s (%s)", kind.text, program.Count(*n, "time")))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, "never, as far as this agent can tell")
	}
	if len(unknown) > 0 {
		parts = append(parts, "not known here: whether "+strings.Join(unknown, ", or "))
	}
	return strings.Join(parts, "; ")
}

// tables adds the rules, and the histograms.
func (l *look) tables(s *program.Sheet) {
	var rules, rows [][]string
	for _, r := range l.Rules {
		holds := "yes"
		if !r.Holds {
			holds = "no"
		}
		rules = append(rules, []string{r.Name, holds, r.Text})
	}
	s.Table([]string{"RULE", "HOLDS", "BECAUSE"}, rules)
	for i, b := range l.Detect.Buckets {
		if i >= len(l.Stop.Buckets) || i >= len(l.Sum.Buckets) {
			break
		}
		most := "longer"
		if b.Most != nil {
			most = fmt.Sprintf("%g ms", *b.Most)
		}
		rows = append(rows, []string{most, fmt.Sprint(b.Count), fmt.Sprint(l.Stop.Buckets[i].Count), fmt.Sprint(l.Sum.Buckets[i].Count)})
	}
	s.Table([]string{"WITHIN", "DETECT", "STOP", "SUM"}, rows)
}

// sheet is all of it for who reaches the agent over the socket only.
func (l *look) sheet(now time.Time, wide bool) *program.Sheet {
	s := &program.Sheet{}
	l.head(s, now)
	s.Line("agent", "%s", l.Class)
	s.Line("grid", "%s", l.Grid)
	s.Table(unitHeader, unitRows(l.Units, now))
	s.List("slots are free because", l.Idle)
	if wide {
		l.tables(s)
	}
	return s
}
