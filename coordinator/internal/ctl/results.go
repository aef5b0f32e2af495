package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/executor"
	"idlegrid/agent/peer/records"
	"idlegrid/coordinator/internal/results"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
	"idlegrid/jobs/record"
)

type resultsOptions struct {
	dir     string
	timeout time.Duration
	partial bool
	wait    bool
	seal    sealing
}

func (o *resultsOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&o.dir, "dir", "d", "", "folder for the results (default NAME-results)")
	addTimeout(cmd, &o.timeout)
	f.BoolVar(&o.partial, "partial", false, "combine even if units are missing or failed")
}

func (o *resultsOptions) check() error {
	if o.partial && o.seal == sealNow {
		return jobs.Errorf(jobs.Invalid, "--seal and --partial exclude each other: only a complete job is sealed")
	}
	return checkTimeout(o.timeout)
}

// again is the command that gets the job's results into the same folder.
func (o *resultsOptions) again(job records.Job) string {
	command := fmt.Sprintf("gridctl results %s --wait", job.ID.Short())
	if o.dir != "" && o.dir != defaultDir(job.Manifest) {
		command += " -d " + o.dir
	}
	return command
}

// defaultDir is where results go if nobody says.
func defaultDir(m *manifest.Manifest) string { return m.Name + "-results" }

func newResultsCommand(a *app) *cobra.Command {
	var o resultsOptions
	var seal bool
	cmd := &cobra.Command{
		Use:   "results JOB",
		Short: "Get a job's results from the agents that keep them",
		Long: "results fetches what is finished of a job into a folder, and combines it when all units are accepted; what\n" +
			"was combined is printed. Run again it fetches only what is missing. An incomplete job gives exit code 3,\n" +
			"and everything that there is.\n\n" +
			"With --seal it tells the agents, once every unit is accepted and written and verified here, that they may\n" +
			"forget the job; they do an hour later. On a terminal it asks whether to.",
		Example: "  gridctl results tour -d results\n  gridctl results tour --wait --seal",
		Args:    exactly("JOB"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.seal = sealingOf(cmd, seal, sealAsk)
			return a.results(cmd.Context(), args[0], o)
		},
	}
	o.flags(cmd)
	cmd.Flags().BoolVar(&seal, sealFlag, false, "seal the job when all of it is here (default: ask on a terminal)")
	cmd.Flags().BoolVar(&o.wait, "wait", false, "wait until the job is done")
	return cmd
}

func (a *app) results(ctx context.Context, name string, o resultsOptions) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	ctx, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	defer func() { err = because(ctx, err) }()
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	job, err := g.findJob(ctx, name)
	if err != nil {
		return err
	}
	if o.wait {
		return a.waitAndFetch(ctx, g, job.ID, o)
	}
	return a.fetch(ctx, g, job, o)
}

// waitAndFetch follows a job until nothing of it is open, then gets its results.
func (a *app) waitAndFetch(ctx context.Context, g *grid, id jobs.JobID, o resultsOptions) error {
	job, err := g.store.Job(id)
	if err != nil {
		return err
	}
	if _, err := a.follow(ctx, g, []records.Job{job}); err != nil {
		return jobs.WithHint(err, "the job goes on; get its results with: %s", o.again(job))
	}
	return a.fetch(ctx, g, job, o)
}

// fetch writes what is finished of a job, combines it, and says what is missing.
func (a *app) fetch(ctx context.Context, g *grid, job records.Job, o resultsOptions) (err error) {
	if o.dir == "" {
		o.dir = defaultDir(job.Manifest)
	}
	units, err := g.units(ctx, job)
	if err != nil {
		return err
	}
	folder, err := results.Open(o.dir, results.Job{ID: jobs.Digest(job.ID), Name: job.Manifest.Name, Units: job.Manifest.Units})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	fetchErr := g.fetchPacks(ctx, job, folder, units)
	if err := errors.Join(fetchErr, folder.Save(), g.rule(ctx, job, units)); err != nil {
		return jobs.WithHint(err, "run it again to go on: only what is missing is fetched")
	}
	incomplete := a.missingUnits(folder.Rows(), o, job, g.ended(job.ID, job.Manifest.Expires))
	if job.Manifest.Combine != nil && incomplete != nil && !o.partial {
		a.say("not combined: with --partial it would be, of what there is")
	}
	if job.Manifest.Combine != nil && (incomplete == nil || o.partial) {
		if err := a.combineFetched(ctx, g, job, folder); err != nil {
			return err
		}
	}
	if incomplete != nil {
		a.notSealed(g, job, o)
		return incomplete
	}
	return a.seal(ctx, g, job, folder, o)
}

// missingUnits lists the units that are not accepted, and returns the error that they are. ended is the state of a
// job that ended as a whole.
func (a *app) missingUnits(rows []results.Row, o resultsOptions, job records.Job, ended string) error {
	var failed, open, unwritten int
	for _, row := range rows {
		switch row.Status {
		case ledger.Accepted, ledger.Sealed:
		case ledger.Open:
			if open++; row.Reason == "" {
				continue
			}
			if unwritten++; unwritten <= maxListed {
				a.say("unit %d not written: %s", row.Unit, brief(row.Reason))
			}
		case ledger.Failed, ledger.Conflict, ledger.Dead:
			if failed++; failed <= maxListed {
				a.say("unit %d %s: %s", row.Unit, row.Status, brief(row.Reason))
			}
		}
	}
	if more := max(0, failed-maxListed) + max(0, unwritten-maxListed); more > 0 {
		a.say("and %d more: see %s/units.json", more, o.dir)
	}
	if failed+open == 0 {
		a.say("%s accepted, results in %s", count(len(rows), "unit"), o.dir)
		return nil
	}
	a.say("%d of %s accepted, results in %s", len(rows)-failed-open, count(len(rows), "unit"), o.dir)
	err := jobs.Errorf(jobs.Internal, "job %s is not complete: %d of %s failed, %d open", job.ID.Short(), failed, count(len(rows), "unit"), open)
	switch {
	case ended != "" && unwritten > 0:
		err = jobs.Errorf(jobs.Internal, "job %s is %s, and an hour later agents forget what it gave: %s cannot be fetched",
			job.ID.Short(), ended, count(unwritten, "unit"))
	case ended != "":
		err = jobs.Errorf(jobs.Internal, "job %s is %s: %d of %s accepted", job.ID.Short(), ended,
			len(rows)-failed-open, count(len(rows), "unit"))
	case unwritten > 0:
		err = jobs.WithHint(err, "run it again to go on: only what is missing is fetched")
	case open > 0:
		err = jobs.WithHint(err, "%s", o.again(job))
	}
	return &incompleteError{err}
}

// units unites what two stewards of each shard know, and returns the status of every unit.
func (g *grid) units(ctx context.Context, job records.Job) ([]ledger.Unit, error) {
	now := time.Now()
	units := make([]ledger.Unit, 0, job.Manifest.Units)
	for n := range job.Manifest.Shards() {
		shard := jobs.ShardID{Job: job.ID, Shard: n}
		if err := g.pullShard(ctx, shard); err != nil {
			return nil, err
		}
		err := g.store.WithLedger(shard, func(l *ledger.Ledger) {
			first, n := l.Units()
			for u := first; u < first+n; u++ {
				units = append(units, beforeEnd(l.Unit(u, now)))
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return units, nil
}

// beforeEnd returns a unit as it was before its job ended as a whole, as far as there is more to say than that it
// is dead.
func beforeEnd(u ledger.Unit) ledger.Unit {
	got := !u.From.Pack.IsZero() && !u.Failure.Failed()
	switch {
	case u.Status != ledger.Sealed && u.Status != ledger.Dead:
	case got:
		u.Status = ledger.Accepted
	case u.Status == ledger.Sealed && u.Failure.Failed():
		u.Status = ledger.Failed
	case u.Status == ledger.Sealed:
		u.Status = ledger.Open
	}
	return u
}

// rule makes what the submitter is about to see stay: where two runs of a unit gave different outcomes, the
// one that is shown gets the submitter's word.
func (g *grid) rule(ctx context.Context, job records.Job, units []ledger.Unit) error {
	var ruled []record.RuledUnit
	for i, u := range units {
		if u.Differs && !u.Ruled && u.Status == ledger.Accepted {
			ruled = append(ruled, record.RuledUnit{Unit: uint64(i), Outcome: u.Outcome})
		}
	}
	if len(ruled) == 0 || job.Manifest.Submitter != g.id.ID() || g.ended(job.ID, job.Manifest.Expires) != "" {
		return nil
	}
	for part := range slices.Chunk(ruled, record.MaxRulingUnits) {
		r := record.Ruling{Job: job.ID, Sequence: uint64(time.Now().UnixMilli()), Units: part}
		if err := g.pushRuling(ctx, record.Sign(record.TypeRuling, r.Encode(), g.id.Key)); err != nil {
			return fmt.Errorf("rule on units whose outcomes differ: %w", err)
		}
	}
	return nil
}

// combineFetched runs the job's combine program on what was fetched.
func (a *app) combineFetched(ctx context.Context, g *grid, job records.Job, folder *results.Folder) (err error) {
	c := job.Manifest.Combine
	if err := g.fetchBlob(ctx, job.ID, c.Program, ledger.ReportRef{}); err != nil {
		if r, ok := folder.ReadCombined(); ok && g.ended(job.ID, job.Manifest.Expires) == stateSealed {
			return a.showCombined(folder, r) // The program is forgotten, and what it made of these units is here.
		}
		return fmt.Errorf("fetch the combine program: %w", err)
	}
	path, err := g.blobs.Path(c.Program.Digest)
	if err != nil {
		return err
	}
	pool, end, err := newPool(1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	return a.combine(ctx, pool, folder, results.Combine{
		Program:  executor.Program{Path: path, Digest: c.Program.Digest, Memory: manifest.MaxMemory},
		Unit:     executor.Unit{Args: c.Args, Seed: jobs.DigestOf(job.ID[:])},
		Platform: platform(),
	})
}
