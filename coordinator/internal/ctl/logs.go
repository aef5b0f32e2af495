package ctl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer/records"
	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

type logsOptions struct {
	all, failed, stdout, stderr bool
}

func newLogsCommand(a *app) *cobra.Command {
	var o logsOptions
	cmd := &cobra.Command{
		Use:   "logs JOB [UNIT]",
		Short: "Print what a unit wrote",
		Long: "logs prints the standard output and standard error of a unit to where a program's go: of the run whose outcome\n" +
			"was accepted, or of the last one that failed, with the reason. --stdout or --stderr prints that one alone, as\n" +
			"data to standard output. --all prints each run that an agent reported. Without a unit, --failed lists the\n" +
			"units that failed.\n\n" +
			"Bytes are written as they are, but on a terminal no control characters. A unit of which nothing was reported\n" +
			"yet gives exit code 3.",
		Example: "  gridctl logs tour 17\n  gridctl logs tour 17 --all --stderr\n  gridctl logs tour --failed -o json",
		Args: func(cmd *cobra.Command, args []string) error {
			if o.failed {
				return exactly("JOB")(cmd, args)
			}
			err := exactly("JOB UNIT")(cmd, args)
			if len(args) == 1 {
				err = jobs.WithHint(err, "gridctl logs JOB UNIT; `gridctl logs %s --failed` lists the units that failed", clip(args[0]))
			}
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			return a.logs(cmd.Context(), args, o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "each run of the unit that was reported")
	f.BoolVar(&o.stdout, "stdout", false, "standard output alone")
	f.BoolVar(&o.stderr, "stderr", false, "standard error alone, to standard output")
	f.BoolVar(&o.failed, "failed", false, "list the units that failed, and why")
	a.outputFlag(cmd)
	return cmd
}

// check refuses flags that contradict each other.
func (o *logsOptions) check(cmd *cobra.Command) error {
	switch {
	case o.stdout && o.stderr:
		return jobs.Errorf(jobs.Invalid, "--stdout and --stderr each mean that one alone")
	case o.failed && (o.all || o.stdout || o.stderr):
		return jobs.Errorf(jobs.Invalid, "--failed lists units, and prints nothing that they wrote")
	case !o.failed && cmd.Flags().Changed(outputFlagName):
		return jobs.Errorf(jobs.Invalid, "-o goes with --failed: what a unit wrote is written as it is")
	}
	return nil
}

func (a *app) logs(ctx context.Context, args []string, o logsOptions) (err error) {
	var unit uint64
	if !o.failed {
		if unit, err = strconv.ParseUint(args[1], 10, 64); err != nil {
			return jobs.Errorf(jobs.Invalid, "unit %q: expected a number, the first unit is 0", clip(args[1]))
		}
	}
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	job, err := g.findJob(ctx, args[0])
	if err != nil {
		return err
	}
	if o.failed {
		return a.failedLogs(ctx, g, job)
	}
	if last := job.Manifest.Units - 1; unit > last {
		return jobs.Errorf(jobs.Invalid, "unit %d: job %s has the units 0 to %d", unit, job.ID.Short(), last)
	}
	tries, err := g.tries(ctx, job, unit, o.all)
	if err != nil {
		return err
	}
	if len(tries) == 0 {
		return g.noReport(ctx, job, unit)
	}
	for i, t := range tries {
		if o.all {
			a.say("== run %d of %d: attempt %d on agent %s, %s", i+1, len(tries), t.From.Attempt, t.From.Author.Short(), result(t.Failure))
		}
		if err := a.printTry(ctx, g, job, unit, t, o); err != nil {
			return err
		}
		if t.Failure.Failed() && !o.all {
			a.say("unit %d failed in attempt %d on agent %s: %s", unit, t.From.Attempt, t.From.Author.Short(), clean(t.Failure.String()))
		}
	}
	return nil
}

func result(f jobs.Failure) string {
	if f.Failed() {
		return "failed: " + brief(f.String())
	}
	return "succeeded"
}

// tries returns what counts of a unit, or all that was reported of it.
func (g *grid) tries(ctx context.Context, job records.Job, unit uint64, all bool) (tries []ledger.Try, err error) {
	shard := shardOf(job, unit)
	if err := g.pullShard(ctx, shard); err != nil {
		return nil, err
	}
	err = g.store.WithLedger(shard, func(l *ledger.Ledger) {
		if all {
			tries = l.Tries(unit)
			return
		}
		if u := l.Unit(unit, time.Now()); !u.From.ID.IsZero() {
			tries = []ledger.Try{{Outcome: u.Outcome, Failure: u.Failure, From: u.From}}
		}
	})
	return tries, err
}

func shardOf(job records.Job, unit uint64) jobs.ShardID {
	m := job.Manifest
	return jobs.ShardID{Job: job.ID, Shard: m.ShardOf(m.BundleOf(unit))}
}

// noReport says that there is nothing to print, and why, as far as anybody knows: which units an agent works on
// is between it and the steward.
func (g *grid) noReport(ctx context.Context, job records.Job, unit uint64) error {
	err := jobs.Errorf(jobs.NotFound, "unit %d has no report yet", unit)
	if state := g.ended(job.ID, job.Manifest.Expires); state != "" {
		return &incompleteError{jobs.Errorf(jobs.NotFound, "unit %d has no report: the job is %s", unit, state)}
	}
	switch r := g.standing(ctx, shardOf(job, unit)).reply; {
	case r == nil:
	case r.GetLent() == 0:
		err = jobs.Errorf(jobs.NotFound, "unit %d has no report yet, and no agent has it now", unit)
	case r.GetLent() >= r.GetOpen():
		err = jobs.Errorf(jobs.NotFound, "unit %d has no report yet: an agent has it, it runs or is about to", unit)
	default:
		err = jobs.Errorf(jobs.NotFound, "unit %d has no report yet: agents have %d of the %d units that are open", unit, r.GetLent(), r.GetOpen())
	}
	return &incompleteError{jobs.WithHint(err, "gridctl watch %s", job.ID.Short())}
}

// printTry fetches what a run of a unit wrote, and prints it.
func (a *app) printTry(ctx context.Context, g *grid, job records.Job, unit uint64, t ledger.Try, o logsOptions) error {
	outcome, err := g.outcome(ctx, job, unit, t)
	if err != nil {
		return fmt.Errorf("unit %d: %w", unit, err)
	}
	if !o.stderr {
		if err := writeTo(a.stdout, outcome.Stdout); err != nil {
			return fmt.Errorf("write standard output: %w", err)
		}
	}
	if o.stdout {
		return nil
	}
	to := a.stderr
	if o.stderr {
		to = a.stdout
	}
	if err := writeTo(to, outcome.Stderr); err != nil {
		return fmt.Errorf("write standard error: %w", err)
	}
	return nil
}

// outcome fetches the outcome of one run of a unit. A run that ended before it wrote anything may have none.
func (g *grid) outcome(ctx context.Context, job records.Job, unit uint64, t ledger.Try) (record.Outcome, error) {
	if t.Outcome.IsZero() || t.From.Pack.IsZero() {
		return record.Outcome{}, nil
	}
	pack, err := g.fetchPack(ctx, job.ID, t.From)
	if err != nil {
		return record.Outcome{}, g.forgotten(job, err)
	}
	return pack.Outcome(unit, t.Outcome)
}

// forgotten explains an error that may come from the job's end.
func (g *grid) forgotten(job records.Job, err error) error {
	if state := g.ended(job.ID, job.Manifest.Expires); state != "" {
		return fmt.Errorf("the job is %s, and an hour later agents forget what it gave: %w", state, err)
	}
	return err
}

// writeTo writes what a program wrote; on a terminal, what does no harm there.
func writeTo(w io.Writer, text []byte) error {
	if isTerminal(w) {
		text = []byte(harmless(string(text)))
	}
	_, err := w.Write(text)
	return err
}

// harmless is clean for texts of several lines with tabs.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// failedUnit is a failed unit as -o json has it.
type failedUnit struct {
	Unit     uint64 `json:"unit"`
	Status   string `json:"status"` // failed or conflict
	Attempts uint32 `json:"attempts"`
	Agent    string `json:"agent"` // of the last failure
	Kind     string `json:"kind"`
	Reason   string `json:"reason"`
}

// failedLogs lists the units that failed.
func (a *app) failedLogs(ctx context.Context, g *grid, job records.Job) error {
	units, err := g.units(ctx, job)
	if err != nil {
		return err
	}
	d, listed := data{rows: [][]string{{"UNIT", "STATUS", "ATTEMPTS", "AGENT", "REASON"}}}, []failedUnit{}
	for i, u := range units {
		if u.Status != ledger.Failed && u.Status != ledger.Conflict {
			continue
		}
		f := failedUnit{Unit: uint64(i), Status: u.Status.String(), Attempts: u.Attempts}
		agent, reason := "-", "its outcomes differ"
		if u.Failure.Failed() {
			f.Agent, f.Kind, f.Reason = u.From.Author.String(), u.Failure.Kind.String(), u.Failure.Text
			agent, reason = u.From.Author.Short(), brief(u.Failure.String())
		}
		listed = append(listed, f)
		d.rows = append(d.rows, []string{fmt.Sprint(i), f.Status, fmt.Sprint(f.Attempts), agent, reason})
		d.names = append(d.names, fmt.Sprint(i))
	}
	d.value = listed
	if len(listed) == 0 {
		a.say("no unit of job %s failed", job.ID.Short())
	} else {
		a.hint(fmt.Sprintf("gridctl logs %s %d", job.ID.Short(), listed[0].Unit))
	}
	return a.show(d)
}
