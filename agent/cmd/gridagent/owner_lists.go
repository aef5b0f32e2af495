package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/spf13/cobra"

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
