package main

import (
	"slices"
	"testing"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/harvest/policy"
	gridv1 "idlegrid/proto/grid/v1"
)

// TestWaitsFor: what is said after a pause are the rules that do not hold, but for the pause itself, and what of the policy
// behind them the owner cannot change.
func TestWaitsFor(t *testing.T) {
	rules := []*gridv1.OwnerRule{
		{Name: harvest.RulePause, Text: "paused by the owner"},
		{Name: harvest.RuleAway, Text: "keyboard or mouse used 40 s ago; work waits 5 min from then"},
		{Name: harvest.RulePower, Text: "on battery"},
		{Name: harvest.RuleMetered, Text: "the network is not metered", Holds: true},
		{Name: harvest.RuleHours, Text: "outside the policy's hours, until 18:00"},
		{Name: "of a later version", Text: "something new"},
	}
	settings := []*gridv1.OwnerSetting{
		{Key: "on_battery", Locked: true}, {Key: "min_charge", Locked: true}, {Key: "metered", Locked: true}, {Key: "hours"},
	}
	want := []string{
		"keyboard or mouse used 40 s ago; work waits 5 min from then", "on battery (IT has locked on_battery, min_charge)",
		"outside the policy's hours, until 18:00", "something new",
	}
	if got := waitsFor(rules, settings); !slices.Equal(got, want) {
		t.Errorf("%q, expected %q", got, want)
	}
	if got := waitsFor(rules[:1], settings); len(got) > 0 {
		t.Errorf("nothing but the pause that is over: %q", got)
	}
}

// TestRuleKeys: each key is one of the policy's.
func TestRuleKeys(t *testing.T) {
	for rule, keys := range ruleKeys {
		for _, key := range keys {
			if !slices.Contains(policy.Keys(), key) {
				t.Errorf("the rule %s: there is no key %s", rule, key)
			}
		}
	}
}
