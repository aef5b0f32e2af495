package ctl

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

func newCancelCommand(a *app) *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "cancel JOB...",
		Short: "End jobs, for good",
		Long: "cancel tells the agents that jobs are to end: within seconds nothing of them runs, and no unit starts any\n" +
			"more. What was accepted until then can be fetched for an hour. There is no way back but to submit a job again.\n\n" +
			"On a terminal it asks first; --yes answers. Where there is no terminal it does not ask. Who logged in as an\n" +
			"operator may cancel anybody's jobs.",
		Example: "  gridctl cancel tour --yes",
		Args:    someJobs,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.cancel(cmd.Context(), args, yes) },
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) cancel(ctx context.Context, names []string, yes bool) (err error) {
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	list, err := g.findJobs(ctx, names)
	if err != nil {
		return err
	}
	all := g.statuses(ctx, list)
	for i, job := range list {
		if err := a.cancelJob(ctx, g, job, all[i], yes); err != nil {
			return err
		}
	}
	return nil
}

// cancelJob cancels a job of which something may run. To cancel one again tells those who have not heard of it.
func (a *app) cancelJob(ctx context.Context, g *grid, job records.Job, s jobStatus, yes bool) error {
	name := fmt.Sprintf("job %s (%s)", job.ID.Short(), clean(s.Name))
	switch s.State {
	case stateSealed:
		a.say("%s is sealed: nothing of it runs, and there is nothing to cancel", name)
		return nil
	case stateExpired:
		a.say("%s expired on %s: nothing of it runs, and there is nothing to cancel", name, day(s.Expires))
		return nil
	case stateCancelled:
		a.say("%s was cancelled before", name)
	default:
		if yes {
			break
		}
		answer, err := a.ask(ctx, fmt.Sprintf("cancel %s, %s units accepted?", name, s.doneText()), true)
		if err != nil {
			return err
		}
		if !answer {
			a.say("%s goes on", name)
			return nil
		}
	}
	t, err := g.tell(ctx, job, record.TypeCancel, (&record.Cancel{Job: job.ID}).Encode())
	if err != nil {
		return jobs.WithHint(fmt.Errorf("cancel %s: %w", name, err), "say it again: gridctl cancel %s", job.ID.Short())
	}
	if s.State == stateCancelled {
		a.say("%s: %s", name, t)
		return nil
	}
	a.say("cancelled %s: %s units accepted, %s, and what there is can be fetched for an hour", name, s.doneText(), t)
	return nil
}
