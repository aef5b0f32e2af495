package ctl

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

func newStatusCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status [JOB]",
		Short:   "Show your jobs, or one of them",
		Long:    "status asks the stewards of your jobs how far they are. A job is named by six or more digits of its ID, or\nby its name, which means the newest of that name. Of one job -o wide also shows the units that agents have, and\nhow old the newest checkpoint of each is, as far as its steward was told: the first 64.",
		Example: "  gridctl status tour\n  gridctl status tour -o wide",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 1 {
				return jobs.WithHint(jobs.Errorf(jobs.Invalid, "gridctl status takes one job, not %d", len(args)), "gridctl status --help has an example")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.status(cmd.Context(), args) },
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) status(ctx context.Context, args []string) (err error) {
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	list, err := g.findJobs(ctx, args)
	if err != nil {
		return err
	}
	if len(args) == 0 {
		list = g.store.Jobs(false)
	}
	all := g.statuses(ctx, list)
	for i := range all {
		g.settle(ctx, list[i], &all[i])
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(list) == 0 {
		a.say("you have no live jobs")
		a.hint("gridctl submit job.yaml")
	}
	d := statusData(all)
	if len(args) == 1 {
		a.note(all[0])
		d.value = all[0]
	}
	if err := a.show(d); err != nil || a.format != formatWide || len(args) == 0 || all[0].Lent == 0 {
		return err
	}
	lent := lentRows(g.lentUnits(ctx, list[0]), list[0].Manifest.CheckpointEvery() > 0)
	if _, err := fmt.Fprintln(a.stdout); err != nil {
		return err
	}
	return showTable(a.stdout, lent, 0)
}

// statusData is a table of jobs.
func statusData(all []jobStatus) data {
	d := data{value: all, narrow: 8, rows: [][]string{{
		"ID", "NAME", "STATE", "DONE", "FAILED", "AGENTS", "CPU", "KEPT UNTIL",
		"OPEN", "RUNNING", "CONFLICT", "DIFFERS", "STEWARDS", "CREATED", "SUBMITTER",
	}}}
	for _, s := range all {
		d.rows = append(d.rows, s.row())
		d.names = append(d.names, s.ID)
	}
	return d
}

func (s *jobStatus) row() []string {
	return []string{
		s.id.Short(), s.Name, s.State, s.doneText(), fmt.Sprint(s.Failed), fmt.Sprint(s.Agents),
		cpuText(s.CPU), s.keptText(),
		fmt.Sprint(s.Open), fmt.Sprint(s.Lent), fmt.Sprint(s.Conflict), fmt.Sprint(s.Differs), fmt.Sprint(s.Keepers), minute(s.Created), s.Submitter[:8],
	}
}

// cpuText returns CPU time for people.
func cpuText(seconds float64) string {
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}

// kept reports whether the agents keep the results until the job expires. Those of a job that was sealed or
// cancelled they forget an hour later, and nobody knows when that was.
func (s *jobStatus) kept() bool { return s.State != stateSealed && s.State != stateCancelled }

func (s *jobStatus) keptText() string {
	if !s.kept() {
		return "-"
	}
	return day(s.Expires)
}

// doneText returns such as "37/200". How far a job was that ended before its time, its stewards no longer say.
func (s *jobStatus) doneText() string {
	done := fmt.Sprint(s.Accepted)
	switch {
	case s.State == stateUnknown, s.State == stateCancelled, s.State == stateExpired,
		s.State == stateSealed && s.Accepted < s.Units: // no steward answers
		done = "-"
	}
	return fmt.Sprintf("%s/%d", done, s.Units)
}

// note says what a person should know and a table does not show.
func (a *app) note(s jobStatus) {
	switch s.State {
	case stateUnknown:
		a.say("no steward of this job answers: its state is not known now, and not lost")
	case stateSealed:
		a.say("its results were fetched and the job sealed: the agents forget its files an hour later")
	case stateCancelled:
		a.say("it was cancelled: nothing of it runs any more, and the agents forget its files an hour later")
	case stateExpired:
		a.say("it expired: the agents forget it")
	}
	if s.Keepers == 1 {
		a.say("results on one machine only")
	}
	if s.Differs > 0 {
		a.say("%s gave different outcomes when run twice: the first counts", count(s.Differs, "unit"))
	}
	if s.Failed > 0 {
		a.say("%s failed", count(s.Failed, "unit"))
		a.hint(fmt.Sprintf("gridctl logs %s --failed", s.id.Short()))
	}
}
