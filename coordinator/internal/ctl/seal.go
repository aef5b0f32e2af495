package ctl

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/results"
	"idlegrid/jobs"
	"idlegrid/jobs/record"
)

// sealing is whether a job is sealed once all its results are here.
type sealing int

const (
	sealAsk   sealing = iota // if there is somebody at a terminal who can be asked
	sealNever                // --seal=false
	sealSoon                 // as a matter of course: if it cannot be now, the results are here all the same
	sealNow                  // --seal: it is an error if it cannot be
)

const sealFlag = "seal"

// sealingOf reads --seal; unsaid is what counts without it.
func sealingOf(cmd *cobra.Command, seal bool, unsaid sealing) sealing {
	switch {
	case !cmd.Flags().Changed(sealFlag):
		return unsaid
	case seal:
		return sealNow
	}
	return sealNever
}

// seal tells the agents that the submitter has all results of a job, if that is so and is wanted.
func (a *app) seal(ctx context.Context, g *grid, job records.Job, folder *results.Folder, o resultsOptions) error {
	if g.ended(job.ID, job.Manifest.Expires) != "" {
		return nil
	}
	seal, err := a.wantsSeal(ctx, g, job, o)
	if err != nil {
		return err
	}
	if !seal {
		a.say("the agents keep the results until %s", day(job.Manifest.Expires))
		return nil
	}
	// After this the copy here is the only one.
	if err := folder.Sync(); err != nil {
		return err
	}
	t, err := g.tell(ctx, job, record.TypeSeal, (&record.Seal{Job: job.ID}).Encode())
	if err != nil {
		err = jobs.WithHint(fmt.Errorf("seal job %s: %w", job.ID.Short(), err),
			"the results are in %s; say it again: gridctl results %s --seal -d %s", o.dir, job.ID.Short(), o.dir)
		if o.seal == sealNow || ctx.Err() != nil {
			return err
		}
		a.say("not sealed: %s", clean(err.Error()))
		a.hint(jobs.HintOf(err))
		return nil
	}
	a.say("sealed job %s: %s, and the agents forget its files in an hour", job.ID.Short(), t)
	return nil
}

// wantsSeal decides about a job whose results are all here.
func (a *app) wantsSeal(ctx context.Context, g *grid, job records.Job, o resultsOptions) (bool, error) {
	if job.Manifest.Submitter != g.id.ID() {
		if o.seal == sealNow {
			return false, jobs.WithHint(jobs.Errorf(jobs.Denied, "job %s is another submitter's, who alone can seal it", job.ID.Short()),
				"the results are in %s", o.dir)
		}
		return false, nil
	}
	switch {
	case o.seal == sealNever:
		return false, nil
	case o.partial && o.seal != sealAsk:
		a.say("not sealed: with --partial a job never is")
		return false, nil
	case o.seal == sealAsk && !o.partial:
		return a.ask(ctx, fmt.Sprintf("everything is in %s. Seal the job, so that the agents may forget it?", o.dir), false)
	}
	return o.seal != sealAsk, nil
}

// notSealed says why an incomplete job is not sealed, where somebody may expect that it is.
func (a *app) notSealed(g *grid, job records.Job, o resultsOptions) {
	if g.ended(job.ID, job.Manifest.Expires) != "" {
		return
	}
	if o.seal == sealSoon || o.seal == sealNow {
		a.say("not sealed: not every unit is accepted and written here")
	}
	a.say("the agents keep what there is until %s", day(job.Manifest.Expires))
}
