package harvest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"idlegrid/agent/internal/harvest/policy"
)

// The names of the rules, in the order in which they are asked. The first that does not hold is the why.
const (
	RulePause      = "no pause"
	RulePolicy     = "policy"
	RuleSeen       = "signals"
	RuleAway       = "away"
	RulePresenting = "no presentation"
	RuleExclusive  = "no exclusive program"
	RulePower      = "power"
	RuleMetered    = "network"
	RuleHours      = "hours"
	RuleHeat       = "temperature"
	RuleMemory     = "memory"
	RuleOthers     = "processor"
	RuleSettled    = "settled"
)

func ruleHolds(rules []Rule, name string) bool {
	i := slices.IndexFunc(rules, func(r Rule) bool { return r.Name == name })
	return i < 0 || rules[i].Holds
}

// rules asks all rules.
func (s *State) rules(in Input, p policy.Values, known bool, who presence, most int) []Rule {
	rules := []Rule{
		pauseRule(in), policyRule(known, who, most), seenRule(in, p), s.awayRule(who, most),
		presentingRule(in, p), exclusiveRule(in, p), powerRule(in, p), meteredRule(in, p), hoursRule(in, p),
		heatRule(in, p), memoryRule(in, p), s.othersRule(in),
	}
	settled := Rule{Name: RuleSettled, Holds: !in.Now.Before(s.after), Text: "nothing stopped work lately"}
	if !settled.Holds {
		settled.brief = "waits after: " + s.cause
		settled.Text = fmt.Sprintf("waits %s more after: %s", span(s.after.Sub(in.Now)), s.cause)
	}
	return append(rules, settled)
}

func pauseRule(in Input) Rule {
	r := Rule{Name: RulePause, Holds: !in.Command.holds(in.Now), Text: "the owner has not paused"}
	if !r.Holds {
		r.Text = "paused by the owner"
		if !in.Command.Until.IsZero() {
			r.Text += " until " + clock(in.Command.Until, in.Now)
		}
	}
	return r
}

func policyRule(known bool, who presence, most int) Rule {
	switch {
	case !known:
		return Rule{Name: RulePolicy, Text: "the policy has errors"}
	case most == 0 && !who.here:
		return Rule{Name: RulePolicy, Text: "the policy allows no cores"}
	}
	return Rule{Name: RulePolicy, Holds: true, Text: "the policy allows work"}
}

// seenRule asks for every reading that a rule of this policy needs.
func seenRule(in Input, p policy.Values) Rule {
	var blind []string
	need := func(name string, known, asked bool) {
		if asked && !known {
			blind = append(blind, name)
		}
	}
	o, now := in.Seen, in.Now
	need("who is logged in", o.Sessions.Known(now), true)
	need("what other programs use", o.Others.Known(now), true)
	need("memory", o.Memory.Known(now), true)
	need("disk", o.Disk.Known(now), true)
	need("power", o.Power.Known(now), !p.OnBattery || p.MinCharge > 0)
	need("temperature", o.Temperature.Known(now), p.MaxTemperature > 0)
	need("full screen", o.Presenting.Known(now), !p.Presenting)
	need("programs", o.Programs.Known(now), len(p.Exclusive) > 0)
	need("network", o.Metered.Known(now), !p.Metered)
	if len(blind) > 0 {
		text := "cannot see: " + strings.Join(blind, ", ")
		return Rule{Name: RuleSeen, Text: text, brief: "cannot see all signals", wait: settle}
	}
	return Rule{Name: RuleSeen, Holds: true, Text: "all signals are seen"}
}

func (s *State) awayRule(who presence, most int) Rule {
	r := Rule{Name: RuleAway, Holds: true, Text: "nobody has used this PC for " + span(who.since)}
	if who.here {
		r.Holds, r.brief = most > 0, "in use"
		r.Text = fmt.Sprintf("%s %s ago; work waits %s from then", s.how, span(who.since), span(who.need))
	}
	return r
}

func presentingRule(in Input, p policy.Values) Rule {
	r := Rule{Name: RulePresenting, Holds: true, Text: "no full-screen program", wait: p.Resume}
	if v := in.Seen.Presenting; v.Known(in.Now) && v.Value {
		r.Holds, r.Text = p.Presenting, "a full-screen program runs"
	}
	return r
}

func exclusiveRule(in Input, p policy.Values) Rule {
	r := Rule{Name: RuleExclusive, Holds: true, Text: "none of the policy's exclusive programs runs", wait: p.Resume}
	if v := in.Seen.Programs; v.Known(in.Now) {
		for _, name := range v.Value {
			if slices.Contains(p.Exclusive, name) {
				r.Holds, r.Text = false, name+" runs"
			}
		}
	}
	return r
}

func powerRule(in Input, p policy.Values) Rule {
	r := Rule{Name: RulePower, Holds: true, Text: "not on battery", wait: p.Resume}
	v := in.Seen.Power
	if v.None || !v.Known(in.Now) {
		return r
	}
	if v.Value.Battery {
		r.Holds, r.Text = p.OnBattery, "on battery"
	}
	// A charge that is no number is below any other.
	if r.Holds && !(v.Value.Charge >= p.MinCharge) {
		r.Holds, r.brief = false, "the battery is low"
		r.Text = fmt.Sprintf("the battery has %.0f %%, less than %.0f %%", v.Value.Charge*100, p.MinCharge*100)
	}
	return r
}

func meteredRule(in Input, p policy.Values) Rule {
	r := Rule{Name: RuleMetered, Holds: true, Text: "the network is not metered", wait: p.Resume}
	if v := in.Seen.Metered; v.Known(in.Now) && v.Value {
		r.Holds, r.Text = p.Metered, "the network is metered"
	}
	return r
}

func hoursRule(in Input, p policy.Values) Rule {
	r := Rule{Name: RuleHours, Holds: p.Hours.Open(in.Now), Text: "within the policy's hours"}
	if r.Holds {
		return r
	}
	r.Text = "outside the policy's hours"
	if next := p.Hours.Next(in.Now); !next.IsZero() {
		r.Text += ", until " + clock(next, in.Now)
	}
	return r
}

func heatRule(in Input, p policy.Values) Rule {
	r := Rule{Name: RuleHeat, Holds: true, Text: "not hot", wait: p.Resume}
	if v := in.Seen.Temperature; v.Known(in.Now) && !v.None && p.MaxTemperature > 0 && !(v.Value < p.MaxTemperature) {
		r.Holds, r.brief = false, "too hot"
		r.Text = fmt.Sprintf("the processor has %.0f °C, the limit is %.0f °C", v.Value, p.MaxTemperature)
	}
	return r
}

func memoryRule(in Input, p policy.Values) Rule {
	r := Rule{Name: RuleMemory, Holds: true, Text: "memory is free", wait: p.Resume}
	v := in.Seen.Memory
	if v.None || !v.Known(in.Now) {
		return r
	}
	least := p.FreeMemory * float64(v.Value.Total)
	switch {
	case float64(v.Value.Available) < least:
		r.Holds, r.brief = false, "memory is short"
		r.Text = fmt.Sprintf("%d MiB of memory are free, less than %.0f MiB", v.Value.Available>>20, least/(1<<20))
	case !(v.Value.Pressure < pressed):
		r.Holds, r.Text = false, "programs wait for memory"
	}
	return r
}

func (s *State) othersRule(in Input) Rule {
	r := Rule{Name: RuleOthers, Holds: s.limit > 0, Text: "other programs use " + coresOf(s.load)}
	if !in.Seen.Others.Known(in.Now) {
		r.Text = "nobody knows what other programs use"
	}
	if !r.Holds {
		r.brief = "other programs use the processor"
		r.Text = s.others(in)
	}
	return r
}

func coresOf(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) + " cores" }

// span writes a time for people: 40 s, 12 min, 3 h.
func span(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(0, d)/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d h", d/time.Hour)
}

// clock writes a time of day, with the day where that is another one.
func clock(at, now time.Time) string {
	at = at.In(now.Location())
	y1, m1, d1 := at.Date()
	if y2, m2, d2 := now.Date(); y1 == y2 && m1 == m2 && d1 == d2 {
		return at.Format("15:04")
	}
	return at.Format("Mon 2 Jan 15:04")
}
