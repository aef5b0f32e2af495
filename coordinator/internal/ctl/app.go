package ctl

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

// app is what all verbs share.
type app struct {
	stdin  io.Reader
	stdout io.Writer // data
	stderr io.Writer // messages
	format string    // of data; see outputFlag
}

// Main runs gridctl with the arguments after its name, and returns its exit code. An interrupt ends the verb
// in an orderly way; a second one ends the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	root := newRoot(a)
	root.SetArgs(append([]string{}, args...)) // A nil slice would mean os.Args.
	err := root.ExecuteContext(ctx)
	a.report(err)
	return exitCode(err)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "gridctl",
		Short: "Check, run and follow jobs on the grid",
		Long: "gridctl checks jobs, runs them on this machine or on the grid, and gets their results.\n" +
			"Standard output has data, standard error has messages. Exit codes: 0 done, 1 error,\n" +
			"2 wrong command line or job.yaml, 3 job not complete, 124 ended by --timeout.",
		SilenceErrors:              true, // Main reports them.
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		Args:                       knownVerb,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(
		newValidateCommand(a),
		newRunCommand(a),
		newLoginCommand(a),
		newSubmitCommand(a),
		newStatusCommand(a),
		newResultsCommand(a),
	)
	return root
}

// knownVerb refuses a first argument that is no verb.
func knownVerb(root *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := jobs.Errorf(jobs.Invalid, "unknown command %.40q", args[0])
	if near := root.SuggestionsFor(args[0]); len(near) > 0 {
		return jobs.WithHint(err, "did you mean %s?", strings.Join(near, " or "))
	}
	return jobs.WithHint(err, "gridctl --help lists the commands")
}

// flagError is what a wrong flag becomes. After an unknown verb no flag is known, and the verb is to blame.
func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); !cmd.HasParent() && len(args) > 0 {
		return knownVerb(cmd, args)
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%w", err), "%s --help lists the flags", cmd.CommandPath())
}

// exactly is cobra.ExactArgs with an error for people; usage is such as "job.yaml".
func exactly(usage string) cobra.PositionalArgs {
	want := len(strings.Fields(usage))
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == want {
			return nil
		}
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s: expected %s, got %d",
			cmd.CommandPath(), count(want, "argument"), len(args)), "%s %s", cmd.CommandPath(), usage)
	}
}

// say writes a message. Where standard error is closed there is nobody to tell.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
}
