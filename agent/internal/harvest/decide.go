package harvest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
)

const (
	// settle is how long cores must have been free, or readings known, before they count: BOINC waits 20 s after it
	// stopped for load, and users still call that restless.
	settle = 30 * time.Second
	// burst is how short a use of the processor by others may be that takes no core: work has the lowest priority, so
	// that they have what they need at once, and a mail that comes in is no reason to freeze anything.
	burst = 3 * time.Second
	// diskBusy is the share of time in which others wait for the disk from which on ours are the least writes, and
	// leastWrite what is written then, in bytes a second.
	diskBusy   = 0.2
	leastWrite = 1 << 20
	// pressed is the share of time in which somebody waits for memory from which on memory is short.
	pressed = 0.1
)

// Command is what the owner said last.
type Command struct {
	Paused bool      `json:"paused"`
	Until  time.Time `json:"until,omitzero"` // zero: until the owner resumes
	Drop   bool      `json:"drop,omitempty"` // what runs goes back at once
}

func (c Command) holds(now time.Time) bool {
	return c.Paused && (c.Until.IsZero() || now.Before(c.Until))
}

// Input is all that a decision depends on, beside the State.
type Input struct {
	Now     time.Time // in the PC's time zone
	Seen    signals.Observation
	Policy  *policy.Values // nil: no policy was ever good
	Command Command
	Cores   int  // of the machine
	Most    int  // of them for the agent, whatever the policy says
	NoOwner bool // class always-on: neither signals nor policy count
}

// Rule is one condition for work.
type Rule struct {
	Name  string
	Holds bool
	Text  string // what is so, whether it holds or not
	brief string // Text without figures that change all the time; empty: it has none
	wait  time.Duration
}

func (r Rule) short() string {
	if r.brief != "" {
		return r.brief
	}
	return r.Text
}

// Mode is what becomes of work.
type Mode string

// The modes.
const (
	Run      Mode = "run"       // on Decision.Cores; what is too much is frozen
	Freeze   Mode = "freeze"    // nothing runs, and all stays
	GiveBack Mode = "give back" // nothing runs, and what was frozen ends elsewhere
)

// Decision is how much may run, and why.
type Decision struct {
	Cores    int
	GiveBack bool  // what does not run goes back with its newest checkpoint
	Memory   int64 // bytes for all units, frozen ones too; math.MaxInt64: no limit
	Disk     int64 // bytes of blobs written a second; policy.Unlimited: no limit, 0: as few as can be
	Network  int64 // bytes of blobs a second, both ways together; likewise
	Kept     int64 // bytes of blobs that stay here; policy.Unlimited: as many as the agent was given

	Why    string // for people
	Reason string // Why without what changes all the time, for a list of decisions
	Rules  []Rule
	Until  time.Time // when it changes by itself, as far as that is known; zero: it is not
	// Input is when the owner's input was that made the owner be here; zero: it was none, or is known already.
	Input time.Time
}

// Mode returns what becomes of work.
func (d Decision) Mode() Mode {
	switch {
	case d.Cores > 0:
		return Run
	case d.GiveBack:
		return GiveBack
	}
	return Freeze
}

// State is what a decision needs to know of those before it. The zero State knows nothing.
type State struct {
	cores int       // of the last decision
	full  int       // cores before they became fewer
	less  time.Time // since when something may be frozen; zero: nothing is
	given bool      // that has gone back

	seen  time.Time // the owner's last sign of life; zero: nobody has looked yet
	how   string    // what that was
	open  []string  // sessions that were not locked
	after time.Time // nothing runs before, because of what was so
	cause string    // and that is this

	load    float64   // cores that others use, the mean of the last seconds
	loaded  time.Time // when that was so; zero: nobody has looked
	limit   int       // cores that others leave
	limited time.Time // when they left that few last
	rise    int       // the fewest they left since
	total   int64     // bytes of memory of the machine
}

// Decide says how much may run. It is pure: what it returns depends on its arguments alone.
func Decide(in Input, s State) (Decision, State) {
	s.forgetFuture(in.Now)
	if in.NoOwner {
		return decideAlone(in, s)
	}
	p, known := policy.Defaults(), in.Policy != nil
	if known {
		p = *in.Policy
	}
	who := s.look(in, p)
	use := p.Away
	if who.here {
		use = p.InUse.Least(p.Away, in.Cores)
	}
	most := min(in.Most, use.Cores.Of(in.Cores))
	cores := min(most, s.yield(in, use))
	rules := s.rules(in, p, known, who, most)
	s.remember(rules, in.Now)
	d := Decision{Cores: cores, Disk: use.DiskWrite, Network: use.Network, Kept: p.Disk, Rules: rules, Input: who.input}
	if first := slices.IndexFunc(rules, func(r Rule) bool { return !r.Holds }); first >= 0 {
		d.Cores = 0
		d.Why, d.Reason = sentence(rules[first]), rules[first].short()
	} else {
		d.Why, d.Reason = s.working(in, who, cores, most)
	}
	d.Until = s.until(in, p, who, rules)
	if m := in.Seen.Memory; m.Known(in.Now) && !m.None {
		s.total = m.Value.Total
	}
	d.Memory = int64(use.Memory * float64(s.total))
	if disk := in.Seen.Disk; !disk.Known(in.Now) || !(disk.Value < diskBusy) {
		d.Disk = min(d.Disk, leastWrite)
	}
	if !ruleHolds(rules, RuleMetered) {
		d.Network = 0
	}
	drop := in.Command.holds(in.Now) && in.Command.Drop || !ruleHolds(rules, RuleMemory)
	d.GiveBack = s.keep(d.Cores, drop, p.GiveBack, in.Now)
	return d, s
}

// decideAlone decides for a machine without an owner.
func decideAlone(in Input, s State) (Decision, State) {
	d := Decision{Cores: in.Most, Memory: math.MaxInt64, Disk: policy.Unlimited, Network: policy.Unlimited, Kept: policy.Unlimited}
	pause := pauseRule(in)
	d.Rules = []Rule{pause}
	d.Why, d.Reason = fmt.Sprintf("%d cores: this machine has no owner", in.Most), "no owner"
	if !pause.Holds {
		d.Cores, d.Why, d.Reason, d.Until = 0, sentence(pause), pause.Text, in.Command.Until
	}
	d.GiveBack = s.keep(d.Cores, in.Command.holds(in.Now) && in.Command.Drop, policy.Defaults().GiveBack, in.Now)
	return d, s
}

// forgetFuture keeps a clock that was set back from stopping work until it has caught up.
func (s *State) forgetFuture(now time.Time) {
	for _, at := range []*time.Time{&s.seen, &s.less, &s.loaded, &s.limited} {
		if at.After(now) {
			*at = now
		}
	}
}

// presence is what is known of the owner.
type presence struct {
	here   bool
	since  time.Duration // since the last sign of life
	need   time.Duration // how long that must be
	locked bool          // every session is, or there is none
	nobody bool          // is logged in
	input  time.Time     // of the last sign, where it is an input that is news
}

// look says whether the owner is here, and keeps the last sign of life.
func (s *State) look(in Input, p policy.Values) presence {
	sessions := in.Seen.Sessions
	who := presence{locked: true, nobody: len(sessions.Value) == 0}
	if s.seen.IsZero() {
		s.seen, s.how = in.Now, "this agent began to look" // the owner may have been here just before
	}
	sign, input, how := time.Time{}, time.Time{}, ""
	var open []string
	for _, v := range sessions.Value {
		last, isInput := lastSign(v, in.Now)
		words := signWords(v.Kind)
		if !v.Locked {
			who.locked = false
			open = append(open, v.ID)
			if !slices.Contains(s.open, v.ID) { // logged in or unlocked
				last, isInput, words = in.Now, false, "somebody logged in or unlocked"
			}
		}
		if last.After(sign) {
			sign, input, how = last, time.Time{}, words
			if isInput {
				input = last
			}
		}
	}
	if sessions.Known(in.Now) {
		slices.Sort(open)
		s.open = open
	}
	if sign.After(s.seen) {
		s.seen, s.how, who.input = sign, how, input
	}
	who.since = in.Now.Sub(s.seen)
	switch {
	case s.cores > 0:
		who.need = min(p.Idle, p.Resume) // whichever of them let it start
	case s.less.IsZero() || s.given:
		who.need = p.Idle
	default:
		who.need = p.Resume
	}
	if who.locked {
		who.need = min(who.need, p.IdleLocked)
	}
	who.here = who.since < who.need
	return who
}

// lastSign returns when a session was last used, and whether somebody saw an input then. Nobody knows of a locked one
// without input: it says nothing.
func lastSign(v signals.Session, now time.Time) (at time.Time, input bool) {
	switch {
	case !v.Input.IsZero() && now.Sub(v.Reported) <= signals.Stale && !v.Input.After(now):
		return v.Input, true
	case v.Locked && !v.Input.After(now):
		return time.Time{}, false
	}
	return now, false
}

func signWords(k signals.Kind) string {
	switch k {
	case signals.Terminal:
		return "a terminal was used"
	case signals.Remote:
		return "a remote session was used"
	default:
		return "keyboard or mouse used"
	}
}

// yield returns how many cores others leave: fewer at once, more of them only after they were free for a while.
func (s *State) yield(in Input, use policy.Use) int {
	o := in.Seen.Others
	if !o.Known(in.Now) {
		return 0
	}
	s.average(o.Value, in)
	free := in.Cores
	if s.load > use.Others*float64(in.Cores) {
		free = s.free(in)
	}
	switch {
	case s.limited.IsZero() || free <= s.limit:
		s.limit, s.limited, s.rise = free, in.Now, in.Cores
	default:
		if s.rise = min(s.rise, free); in.Now.Sub(s.limited) >= settle {
			s.limit, s.limited, s.rise = s.rise, in.Now, in.Cores
		}
	}
	return s.limit
}

// average keeps the mean of what others use, in which the past counts less and less. What is no number counts as all.
func (s *State) average(others float64, in Input) {
	if !(others < float64(in.Cores)) {
		others = float64(in.Cores)
	}
	weight := 1.0
	if !s.loaded.IsZero() {
		weight = 1 - math.Exp(-in.Now.Sub(s.loaded).Seconds()/burst.Seconds())
	}
	s.load += weight * (max(0, others) - s.load)
	s.loaded = in.Now
}

// free returns the whole cores that others leave. One of which they use hardly anything is whole.
func (s *State) free(in Input) int {
	const hardly = 0.05
	return max(0, int(float64(in.Cores)-s.load+hardly))
}

// remember puts off the next start where a rule that needs that does not hold.
func (s *State) remember(rules []Rule, now time.Time) {
	if s.after.Sub(now) > 24*time.Hour {
		s.after = now // the clock was set back; no wait is as long
	}
	for _, r := range rules {
		if until := now.Add(r.wait); !r.Holds && r.wait > 0 && !until.Before(s.after) {
			s.after, s.cause = until, r.short()
		}
	}
}

// keep notes since when something may be frozen, and reports whether that goes back now.
func (s *State) keep(cores int, drop bool, after time.Duration, now time.Time) bool {
	switch {
	case cores > s.cores && (s.given || cores >= s.full):
		s.less, s.full, s.given = time.Time{}, cores, false
	case cores < s.cores && s.less.IsZero():
		s.less, s.full, s.given = now, s.cores, false
	case cores < s.cores && cores == 0:
		s.less, s.given = now, false
	case cores < s.cores && s.given:
		s.less, s.given = now, false
	}
	s.cores = cores
	if !s.less.IsZero() && (drop || now.Sub(s.less) >= after) {
		s.given = true
	}
	return s.given || drop
}

// until returns when the decision changes by itself, if nothing else happens.
func (s *State) until(in Input, p policy.Values, who presence, rules []Rule) time.Time {
	var last time.Time
	for _, r := range rules {
		var at time.Time
		switch {
		case r.Holds:
			continue
		case r.Name == RulePause:
			at = in.Command.Until
		case r.Name == RuleAway:
			at = in.Now.Add(who.need - who.since)
		case r.Name == RuleHours:
			at = p.Hours.Next(in.Now)
		case r.Name == RuleSettled:
			at = s.after
		}
		if at.IsZero() {
			return at // nobody knows when that ends
		}
		if at.After(last) {
			last = at
		}
	}
	return last
}

// working says what runs and why so much.
func (s *State) working(in Input, who presence, cores, most int) (why, reason string) {
	reason = "nobody uses this PC"
	text := "nobody has used this PC for " + span(who.since)
	switch {
	case cores < most:
		text, reason = s.others(in), "other programs use the processor"
	case who.here:
		text, reason = s.how+" "+span(who.since)+" ago", "in use"
	case who.nobody:
		text = "nobody is logged in"
	}
	return fmt.Sprintf("%d of %d cores: %s", cores, in.Cores, text), reason
}

// others says what others use that leaves no more cores.
func (s *State) others(in Input) string {
	if s.free(in) > s.limit {
		return "other programs used more than " + coresOf(s.load) + " a moment ago"
	}
	return "other programs use " + coresOf(s.load)
}

// sentence is a rule that keeps everything from running, for people.
func sentence(r Rule) string {
	if r.Name == RulePause {
		return strings.ToUpper(r.Text[:1]) + r.Text[1:]
	}
	return "Paused: " + r.Text
}
