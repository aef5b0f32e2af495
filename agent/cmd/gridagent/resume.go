package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/program"
	gridv1 "idlegrid/proto/grid/v1"
)

func newResume() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "resume",
		Short: "End the pause",
		Long: "resume ends what `gridagent pause` and `gridagent stop-jobs` began, and nothing else that keeps work from\n" +
			"running: it says what does, and which of that IT has locked, so that you cannot change it.",
		Example: "  gridagent resume",
		Args:    cobra.NoArgs,
	}
	state := program.StateFlag(cmd, "agent")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return askOwner(cmd.Context(), *state, func(ctx context.Context, c gridv1.OwnerClient) error {
			return resume(ctx, c, cmd.OutOrStdout())
		})
	}
	return cmd
}

func resume(ctx context.Context, c gridv1.OwnerClient, to io.Writer) error {
	reply, err := c.Resume(ctx, &gridv1.ResumeRequest{})
	if err != nil {
		return err
	}
	said := "resumed"
	if !reply.GetPaused() {
		said = "there was no pause"
	}
	// It has resumed, whatever comes of these questions.
	look, lookErr := c.Look(ctx, &gridv1.LookRequest{})
	policy, policyErr := c.Policy(ctx, &gridv1.PolicyRequest{})
	waits := waitsFor(look.GetRules(), policy.GetSettings())
	switch {
	case lookErr != nil || policyErr != nil:
		said += "; what else keeps work waiting is not known: gridagent status"
	case len(waits) > 0:
		said += "; work still waits:\n  " + strings.Join(waits, "\n  ")
	}
	fmt.Fprintln(to, said)
	return nil
}

// ruleKeys are the keys of the policy that decide whether a rule holds.
var ruleKeys = map[string][]string{
	harvest.RulePolicy:     {"away.cores"},
	harvest.RuleAway:       {"idle", "idle_locked", "in_use.cores"},
	harvest.RulePresenting: {"presenting"},
	harvest.RuleExclusive:  {"exclusive"},
	harvest.RulePower:      {"on_battery", "min_charge"},
	harvest.RuleMetered:    {"metered"},
	harvest.RuleHours:      {"hours"},
	harvest.RuleHeat:       {"max_temperature"},
	harvest.RuleMemory:     {"free_memory"},
	harvest.RuleOthers:     {"away.others_cpu", "in_use.others_cpu"},
	harvest.RuleSettled:    {"resume_after"},
}

// waitsFor returns what keeps work waiting beside a pause, which the last decision may not know to be over.
func waitsFor(rules []*gridv1.OwnerRule, settings []*gridv1.OwnerSetting) (waits []string) {
	for _, r := range rules {
		if r.GetHolds() || r.GetName() == harvest.RulePause {
			continue
		}
		text := r.GetText()
		var locked []string
		for _, s := range settings {
			if s.GetLocked() && slices.Contains(ruleKeys[r.GetName()], s.GetKey()) {
				locked = append(locked, s.GetKey())
			}
		}
		if len(locked) > 0 {
			text += " (IT has locked " + strings.Join(locked, ", ") + ")"
		}
		waits = append(waits, text)
	}
	return waits
}
