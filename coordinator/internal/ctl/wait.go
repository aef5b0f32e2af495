package ctl

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

// addTimeout gives a verb --timeout, which withTimeout obeys and checkTimeout checks.
func addTimeout(cmd *cobra.Command, timeout *time.Duration) {
	cmd.Flags().DurationVar(timeout, timeoutFlag, 0, "end after this time, such as 90s, with exit code 124 (default never)")
}

func checkTimeout(timeout time.Duration) error {
	if timeout < 0 {
		return jobs.Errorf(jobs.Invalid, "--timeout %s: expected more than 0", timeout)
	}
	return nil
}

// someJobs wants one job at least.
func someJobs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return nil
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s: expected at least one job", cmd.CommandPath()), "%s JOB...", cmd.CommandPath())
}

func newWaitCommand(a *app) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait JOB...",
		Short: "Wait until no unit of jobs is open",
		Long: "wait follows jobs until none of their units is open, and fetches nothing. It ends with exit code 0 if every\n" +
			"unit was accepted, with 3 if any failed or a job was cancelled or expired, and with 124 by --timeout.",
		Example: "  gridctl wait tour --timeout 1h && gridctl results tour",
		Args:    someJobs,
		RunE:    func(cmd *cobra.Command, args []string) error { return a.wait(cmd.Context(), args, timeout) },
	}
	addTimeout(cmd, &timeout)
	return cmd
}

func (a *app) wait(ctx context.Context, names []string, timeout time.Duration) (err error) {
	if err := checkTimeout(timeout); err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	defer func() { err = because(ctx, err) }()
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	list, err := g.findJobs(ctx, names)
	if err != nil {
		return err
	}
	all, err := a.follow(ctx, g, list)
	if err != nil {
		return jobs.WithHint(err, "the jobs go on: gridctl status")
	}
	return a.verdict(all)
}
