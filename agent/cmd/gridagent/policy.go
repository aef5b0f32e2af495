package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

type setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`
	Layer  string `json:"layer"`
	File   string `json:"file,omitempty"`
	Line   uint32 `json:"line,omitempty"`
	Locked bool   `json:"locked"`
}

type policyShown struct {
	Settings []setting `json:"settings"`
	Warnings []string  `json:"warnings"`
	Wrong    string    `json:"wrong,omitempty"` // with the files; the settings are the last good ones
}

func newPolicy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "policy",
		Short: "Show, check and set what the grid may do on this machine",
	}
	cmd.AddCommand(newPolicyShow(), newPolicySet(), newPolicyUnset(), newPolicyCheck())
	return cmd
}

func newPolicyShow() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show each value, who says it and where",
		Example: "  gridagent policy show",
		Args:    cobra.NoArgs,
	}
	state, format := program.StateFlag(cmd, "agent"), program.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var r *gridv1.PolicyReply
		err := askOwner(cmd.Context(), *state, func(ctx context.Context, c gridv1.OwnerClient) (err error) {
			r, err = c.Policy(ctx, &gridv1.PolicyRequest{})
			return err
		})
		if err != nil {
			return err
		}
		p := &policyShown{Settings: []setting{}, Warnings: r.GetWarnings(), Wrong: r.GetWrong()}
		s := &program.Sheet{}
		if p.Wrong != "" {
			s.List("the policy has errors, the last good one stands", strings.Split(p.Wrong, "\n"))
		}
		var rows [][]string
		for _, v := range r.GetSettings() {
			p.Settings = append(p.Settings, setting{v.GetKey(), v.GetValue(), v.GetLayer(), v.GetFile(), v.GetLine(), v.GetLocked()})
			rows = append(rows, []string{v.GetKey(), v.GetValue(), whereOf(v)})
		}
		if len(rows) == 0 && p.Wrong == "" {
			s.Line("policy", "none: a machine of class always-on has no owner")
		}
		s.Table([]string{"KEY", "VALUE", "FROM"}, rows)
		s.List("warnings", p.Warnings)
		return program.Show(cmd.OutOrStdout(), *format, p, s)
	}
	return cmd
}

// whereOf says who says a value, and where.
func whereOf(v *gridv1.OwnerSetting) string {
	where := v.GetLayer()
	if v.GetFile() != "" {
		where = fmt.Sprintf("%s, %s:%d", where, v.GetFile(), v.GetLine())
	}
	if v.GetLocked() {
		where += ", locked"
	}
	return where
}

func newPolicySet() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set KEY VALUE",
		Short: "Set a value of the owner's policy",
		Long: "set writes a value into the owner's policy of this machine, as a policy file has it, and it counts at once.\n" +
			"`gridagent policy show` lists all keys. Whoever is logged in at this machine may set what the machine's policy\n" +
			"does not lock.\n" +
			"Exit codes: 0 it counts, 2 no such key or a bad value, 3 the agent does not run, 1 it is locked, or another error.",
		Example:           "  gridagent policy set idle 10m\n  gridagent policy set hours '{mon-fri: 18:00-24:00}'",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeKeys,
	}
	state := program.StateFlag(cmd, "agent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return setPolicy(cmd, *state, args[0], &args[1]) }
	return cmd
}

func newPolicyUnset() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "unset KEY",
		Short: "Take a value out of the owner's policy",
		Long: "unset takes a key out of the owner's policy of this machine: what the other layers say counts again, at once.\n" +
			"Exit codes: 0 it is done, 2 no such key, 3 the agent does not run, 1 another error.",
		Example:           "  gridagent policy unset idle",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeKeys,
	}
	state := program.StateFlag(cmd, "agent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return setPolicy(cmd, *state, args[0], nil) }
	return cmd
}

// setPolicy sets a key, or takes it out for nil, and says what counts then.
func setPolicy(cmd *cobra.Command, state, key string, value *string) error {
	var reply *gridv1.SetPolicyReply
	err := askOwner(cmd.Context(), state, func(ctx context.Context, c gridv1.OwnerClient) (err error) {
		reply, err = c.SetPolicy(ctx, &gridv1.SetPolicyRequest{Key: key, Value: value})
		return err
	})
	if jobs.KindOf(err) == jobs.Invalid && jobs.HintOf(err) == "" {
		return jobs.WithHint(err, "write it as in a policy file, in quotes: gridagent policy set --help has examples")
	}
	if err != nil {
		return err
	}
	if wrong := reply.GetWrong(); wrong != "" {
		return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "it is written, and does not count yet, since the policy has errors:\n%s", wrong),
			"mend these files; the last good policy stands until then")
	}
	v := reply.GetSetting()
	fmt.Fprintf(cmd.OutOrStdout(), "%s is %s (%s)\n", v.GetKey(), v.GetValue(), whereOf(v))
	return nil
}

// completeKeys offers the keys of a policy for the first argument.
func completeKeys(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return policy.Keys(), cobra.ShellCompDirectiveNoFileComp
}

func newPolicyCheck() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check FILE",
		Short: "Check a policy file",
		Long: "check reads a policy file and tells all that is wrong in it, with file, line and column. It needs no agent.\n" +
			"Exit codes: 0 it is good, 2 it is not, 1 it cannot be read.",
		Example: "  gridagent policy check /etc/idlegrid/policy.yaml",
		Args:    cobra.ExactArgs(1),
	}
	layer := cmd.Flags().String("layer", string(policy.Machine), "whose file it is: machine, local or owner; only the machine's may lock keys")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		file := args[0]
		var p policy.Paths
		switch policy.Layer(*layer) {
		case policy.Machine:
			p.Machine = []string{file}
		case policy.Local:
			p.Local = file
		case policy.Owner:
			p.Owner = file
		default:
			return jobs.Errorf(jobs.Invalid, "--layer %.40s: expected machine, local or owner", *layer)
		}
		if filepath.Ext(file) != ".yaml" {
			return jobs.Errorf(jobs.Invalid, "%s: expected a file whose name ends in .yaml, the agent reads no others", file)
		}
		if _, err := os.Stat(file); err != nil {
			return jobs.Errorf(jobs.NotFound, "check a policy: %w", err)
		}
		if _, err := policy.Load(p); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s is good as a policy of layer %s\n", file, *layer)
		return nil
	}
	return cmd
}
