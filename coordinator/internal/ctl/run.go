package ctl

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/executor"
	"idlegrid/coordinator/internal/results"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/manifest"
)

// maxListed bounds the failed units and files that a message lists.
const maxListed = 10

// maxCores bounds --cores: each is a process.
const maxCores = 1024

type runOptions struct {
	job     string // path of job.yaml, or stdinPath
	dir     string
	unit    uint64
	oneUnit bool // whether only that unit is run
	cores   int
	timeout time.Duration
	partial bool
	replace bool
}

func newRunCommand(a *app) *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run job.yaml",
		Short: "Run a job on this machine, without a grid",
		Long: "run runs all units of a job on this machine's cores, writes their results into a folder and combines\n" +
			"them; what was combined is printed. Run it again to go on: units whose results are there and whole\n" +
			"are not run again. With --unit it runs one unit, once, and prints what it prints.",
		Example: "  gridctl run tour/job.yaml -d results\n  gridctl run tour/job.yaml --unit 3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.oneUnit = cmd.Flags().Changed("unit")
			return a.run(cmd.Context(), o)
		},
	}
	fileFlag(cmd, &o.job)
	f := cmd.Flags()
	f.Uint64Var(&o.unit, "unit", 0, "run this unit only, and print its output")
	f.StringVarP(&o.dir, "dir", "d", "", "folder for the results (default NAME-results; none with --unit)")
	f.IntVar(&o.cores, "cores", runtime.NumCPU(), "units that run at the same time")
	f.DurationVar(&o.timeout, "timeout", 0, "end after this time, such as 90s, with exit code 124 (default never)")
	f.BoolVar(&o.replace, "replace", false, "remove results of the job before it changed")
	f.BoolVar(&o.partial, "partial", false, "combine even if units failed")
	return cmd
}

func (a *app) run(ctx context.Context, o runOptions) (err error) {
	ctx, cancel := withTimeout(ctx, o.timeout)
	defer cancel()
	loaded, err := a.loadJob(o.job)
	if err != nil {
		return err
	}
	build := loaded.build
	if err := o.check(build.Manifest); err != nil {
		return err
	}
	job, err := newLocalJob(build)
	if err != nil {
		return err
	}
	pool, end, err := newPool(o.cores)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	if o.oneUnit {
		return a.runUnit(ctx, job, pool, o)
	}
	return a.runAll(ctx, job, pool, o)
}

func (o *runOptions) check(m *manifest.Manifest) error {
	switch {
	case o.oneUnit && o.unit >= m.Units:
		return jobs.Errorf(jobs.Invalid, "--unit %d: the job has %s, from 0 to %d", o.unit, count(m.Units, "unit"), m.Units-1)
	case o.cores < 1 || o.cores > maxCores:
		return jobs.Errorf(jobs.Invalid, "--cores %d: expected 1 to %d", o.cores, maxCores)
	case o.timeout < 0:
		return jobs.Errorf(jobs.Invalid, "--timeout %s: expected more than 0", o.timeout)
	}
	if o.dir == "" && !o.oneUnit {
		o.dir = defaultDir(m)
	}
	return m.Supported()
}

// openResults opens the folder of a job that is run here.
func (a *app) openResults(job *localJob, o runOptions) (*results.Folder, error) {
	folder, err := results.Open(o.dir, results.Job{
		ID: job.identity, Name: job.manifest.Name, Units: job.manifest.Units, Local: true, Replace: o.replace,
	})
	if err == nil && folder.Replaced() {
		a.say("the job is not what it was: its old results in %s are removed", o.dir)
	}
	return folder, err
}

// runUnit runs one unit as a person does who wants to see what it does: once, and its output goes where a
// program's output goes.
func (a *app) runUnit(ctx context.Context, job *localJob, pool results.Pool, o runOptions) error {
	if err := pool.Prepare(ctx, &job.program); err != nil {
		return err
	}
	r, err := job.try(ctx, pool, o.unit)
	if err != nil {
		return err
	}
	if err := a.printOutput(r); err != nil {
		return err
	}
	if o.dir != "" {
		if err := a.keepUnit(job, r, o); err != nil {
			return err
		}
	} else if n := len(r.Outcome.Files); n > 0 {
		a.say("left %s in /out: %s", count(n, "file"), fileNames(r))
		a.hint("-d DIR keeps them")
	}
	if r.Failure.Failed() {
		return &incompleteError{jobs.Errorf(jobs.Internal, "unit %d failed: %s", o.unit, r.Failure)}
	}
	return nil
}

func (a *app) printOutput(r *results.Result) error {
	if _, err := a.stderr.Write(r.Outcome.Stderr); err != nil {
		return fmt.Errorf("write standard error: %w", err)
	}
	if _, err := a.stdout.Write(r.Outcome.Stdout); err != nil {
		return fmt.Errorf("write standard output: %w", err)
	}
	return nil
}

func fileNames(r *results.Result) string {
	var names []string
	for _, f := range r.Outcome.Files {
		if len(names) == maxListed {
			names = append(names, "…")
			break
		}
		names = append(names, brief(f.Path))
	}
	return strings.Join(names, ", ")
}

func (a *app) keepUnit(job *localJob, r *results.Result, o runOptions) (err error) {
	folder, err := a.openResults(job, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	missing(folder, job.manifest.Units) // Its point is here what it notes.
	if err := folder.Put(o.unit, r); err != nil {
		return err
	}
	return folder.Save()
}

func (a *app) runAll(ctx context.Context, job *localJob, pool results.Pool, o runOptions) (err error) {
	folder, err := a.openResults(job, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, folder.Close()) }()
	todo := missing(folder, job.manifest.Units)
	a.announce(job, uint64(len(todo)), o)
	r := &localRun{localJob: job, pool: pool, folder: folder, cores: o.cores, show: a.startProgress("core")}
	err = r.units(ctx, todo)
	r.show.Close()
	if err != nil && ctx.Err() != nil {
		err = r.stopped(context.Cause(ctx))
	}
	if err := errors.Join(err, folder.Save()); err != nil {
		return err
	}
	incomplete := a.failedUnits(folder.Rows(), o)
	if job.manifest.Combine != nil && incomplete != nil && !o.partial {
		a.say("not combined: with --partial it would be, of what there is")
	}
	if job.manifest.Combine != nil && (incomplete == nil || o.partial) {
		err := a.combine(ctx, pool, folder, results.Combine{
			Program:  job.combine,
			Unit:     executor.Unit{Args: job.manifest.Combine.Args, Seed: job.identity},
			Platform: platform(),
		})
		if err != nil {
			return err
		}
	}
	return incomplete
}

// announce says what is about to run, and where.
func (a *app) announce(job *localJob, todo uint64, o runOptions) {
	units := count(job.manifest.Units, "unit")
	switch {
	case todo == 0:
		a.say("the results of all %s are in %s", units, o.dir)
		return
	case todo < job.manifest.Units:
		units = fmt.Sprintf("%d of %s, the others are there,", todo, units)
	}
	a.say("running %s on %s, results in %s", units, count(o.cores, "core"), o.dir)
}

// stopped says how far the run came when it was somebody's wish that it ends.
func (r *localRun) stopped(cause error) error {
	units := count(r.manifest.Units, "unit")
	return jobs.WithHint(fmt.Errorf("%w; %d of %s done", cause, r.done, units), "run it again to go on")
}

// failedUnits lists the units that are not accepted, and returns the error that they are.
func (a *app) failedUnits(rows []results.Row, o runOptions) error {
	var failed []results.Row
	for _, row := range rows {
		if row.Status != ledger.Accepted {
			failed = append(failed, row)
		}
	}
	if len(failed) == 0 {
		a.say("%s accepted", count(len(rows), "unit"))
		return nil
	}
	for i, row := range failed {
		if i == maxListed {
			a.say("and %d more: see %s/units.json", len(failed)-maxListed, o.dir)
			break
		}
		a.say("unit %d %s: %s", row.Unit, row.Status, brief(row.Reason))
	}
	err := jobs.Errorf(jobs.Internal, "%d of %s failed", len(failed), count(len(rows), "unit"))
	return &incompleteError{jobs.WithHint(err, "gridctl run --unit %d %s", failed[0].Unit, fileArgument(o.job))}
}

// combine runs a combine program on the results and prints what it made of them.
func (a *app) combine(ctx context.Context, pool results.Pool, folder *results.Folder, c results.Combine) error {
	r, err := folder.Combine(ctx, pool, c)
	if err != nil {
		return err
	}
	return a.showCombined(folder, r)
}

// showCombined prints what was made of the results.
func (a *app) showCombined(folder *results.Folder, r *results.Result) error {
	if a.isDocument() {
		r.Outcome.Stdout = nil
	}
	if err := a.printOutput(r); err != nil {
		return err
	}
	if r.Failure.Failed() {
		return jobs.WithHint(jobs.Errorf(jobs.Internal, "combine failed: %s", r.Failure),
			"the units' results stay; what it wrote is in %s", folder.Combined())
	}
	for i, f := range r.Outcome.Files {
		if i == maxListed {
			a.say("and %d more files", len(r.Outcome.Files)-maxListed)
			break
		}
		a.say("wrote %s", clean(folder.CombinedFile(f.Path)))
	}
	a.say("combined: %s", folder.Combined())
	return nil
}
