package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

type decision struct {
	From  time.Time `json:"from"`
	Mode  string    `json:"mode"` // run, freeze or give back
	Cores uint32    `json:"cores"`
	Why   string    `json:"why"`
}

func newWhy() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why",
		Short: "Show the last day's decisions",
		Long: "why lists what the agent decided in the last day, and why, the oldest first. The list is in memory only: it\n" +
			"begins when the agent starts, and no file tells when somebody used the machine.",
		Example: "  gridagent why\n  gridagent why -o json",
		Args:    cobra.NoArgs,
	}
	state, format := program.StateFlag(cmd, "agent"), program.OutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var reply *gridv1.WhyReply
		err := askOwner(cmd.Context(), *state, func(ctx context.Context, c gridv1.OwnerClient) (err error) {
			reply, err = c.Why(ctx, &gridv1.WhyRequest{})
			return err
		})
		if err != nil {
			return err
		}
		list, rows, now := []decision{}, [][]string{}, time.Now()
		for i, d := range reply.GetDecisions() {
			one := decision{From: program.Moment(d.GetFromMs()), Mode: d.GetMode(), Cores: d.GetCores(), Why: d.GetWhy()}
			until := now
			if i+1 < len(reply.GetDecisions()) {
				until = program.Moment(reply.GetDecisions()[i+1].GetFromMs())
			}
			list = append(list, one)
			rows = append(rows, []string{
				one.From.Local().Format(time.DateTime), program.For(max(0, until.Sub(one.From))), one.Mode, fmt.Sprint(one.Cores), one.Why,
			})
		}
		s := &program.Sheet{}
		s.Table([]string{"FROM", "FOR", "DOES", "CORES", "WHY"}, rows)
		return program.Show(cmd.OutOrStdout(), *format, list, s)
	}
	return cmd
}

type history struct {
	Jobs     []pastJob `json:"jobs"`
	Total    uint32    `json:"total_jobs"`
	Visitors []visitor `json:"visitors"`
}

type pastJob struct {
	Job       string    `json:"job"`
	Name      string    `json:"name"`
	Submitter string    `json:"submitter"`
	Owner     string    `json:"owner,omitempty"`
	Program   string    `json:"program"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Units     uint64    `json:"units"`
	Failed    uint64    `json:"failed_units"`
	CPU       float64   `json:"cpu_seconds"`
	Memory    uint64    `json:"memory_bytes,omitempty"` // absent: not known
	In        uint64    `json:"in_bytes"`
	Out       uint64    `json:"out_bytes"`
}

type visitor struct {
	Who   string    `json:"who"`
	What  string    `json:"what"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Calls uint64    `json:"calls"`
}

func newHistory() *cobra.Command {
	var limit uint32
	var all bool
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List the jobs that ever ran on this machine, and who looked at it",
		Long: "history lists the jobs of which units ran here, the newest first: whose they are, their programs, CPU time,\n" +
			"memory and bytes. Below are those who asked this agent anything: people at this PC, and submitters and\n" +
			"operators over the network. 10,000 jobs of at most two years are kept.",
		Example: "  gridagent history\n  gridagent history --all -o json",
		Args:    cobra.NoArgs,
	}
	state, format := program.StateFlag(cmd, "agent"), program.OutputFlag(cmd)
	cmd.Flags().Uint32Var(&limit, "limit", 20, "jobs to list, at most 1000")
	cmd.Flags().BoolVar(&all, "all", false, "list all jobs")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if limit < 1 || limit > 1000 {
			return jobs.Errorf(jobs.Invalid, "--limit %d: expected 1 to 1000", limit)
		}
		if all {
			limit = 1000
		}
		h := &history{Jobs: []pastJob{}, Visitors: []visitor{}}
		err := askOwner(cmd.Context(), *state, func(ctx context.Context, c gridv1.OwnerClient) error {
			for {
				r, err := c.History(ctx, &gridv1.HistoryRequest{Limit: limit, Skip: uint32(len(h.Jobs))})
				if err != nil {
					return err
				}
				h.add(r)
				if !all || len(r.GetJobs()) == 0 {
					return nil
				}
			}
		})
		if err != nil {
			return err
		}
		return program.Show(cmd.OutOrStdout(), *format, h, h.sheet(*format == program.FormatWide))
	}
	return cmd
}

// add takes a page of the history.
func (h *history) add(r *gridv1.HistoryReply) {
	h.Total = r.GetTotal()
	for _, j := range r.GetJobs() {
		h.Jobs = append(h.Jobs, pastJob{
			Job: hex.EncodeToString(j.GetJob()), Name: j.GetName(), Submitter: hex.EncodeToString(j.GetSubmitter()), Owner: j.GetOwner(),
			Program: hex.EncodeToString(j.GetProgram()), First: program.Moment(j.GetFirstMs()), Last: program.Moment(j.GetLastMs()),
			Units: j.GetUnits(), Failed: j.GetFailed(), CPU: float64(j.GetCpuUs()) / 1e6, Memory: j.GetMemoryBytes(),
			In: j.GetInBytes(), Out: j.GetOutBytes(),
		})
	}
	h.Visitors = h.Visitors[:0]
	for _, v := range r.GetVisitors() {
		h.Visitors = append(h.Visitors, visitor{
			Who: v.GetWho(), What: v.GetWhat(), First: program.Moment(v.GetFirstMs()), Last: program.Moment(v.GetLastMs()), Calls: v.GetCalls(),
		})
	}
}

func (h *history) sheet(wide bool) *program.Sheet {
	s := &program.Sheet{}
	var rows, visitors [][]string
	header := []string{"JOB", "FOR", "LAST", "UNITS", "FAILED", "CPU", "MEMORY", "IN", "OUT", "PROGRAM"}
	if wide {
		header = append(header, "ID", "FIRST")
	}
	for _, j := range h.Jobs {
		memory := "-"
		if j.Memory > 0 {
			memory = program.Bytes(j.Memory)
		}
		row := []string{
			j.Name, program.OwnerOr(j.Owner, j.Submitter), j.Last.Local().Format(time.DateTime), fmt.Sprint(j.Units), fmt.Sprint(j.Failed),
			cpu(j.CPU), memory, program.Bytes(j.In), program.Bytes(j.Out), program.ShortJob(j.Program),
		}
		if wide {
			row = append(row, program.ShortJob(j.Job), j.First.Local().Format(time.DateTime))
		}
		rows = append(rows, row)
	}
	s.Line("jobs", "%d of %d that ran here", len(h.Jobs), h.Total)
	s.Table(header, rows)
	for _, v := range h.Visitors {
		visitors = append(visitors, []string{v.Who, v.Last.Local().Format(time.DateTime), fmt.Sprint(v.Calls), v.What})
	}
	s.Table([]string{"LOOKED", "LAST", "CALLS", "LAST CALL"}, visitors)
	return s
}

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
		Short: "Show and check what the grid may do on this machine",
	}
	cmd.AddCommand(newPolicyShow(), newPolicyCheck())
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
			where := v.GetLayer()
			if v.GetFile() != "" {
				where = fmt.Sprintf("%s, %s:%d", where, v.GetFile(), v.GetLine())
			}
			if v.GetLocked() {
				where += ", locked"
			}
			rows = append(rows, []string{v.GetKey(), v.GetValue(), where})
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
