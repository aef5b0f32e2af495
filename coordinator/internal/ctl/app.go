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

	"idlegrid/agent/program"
	"idlegrid/jobs"
)

// app is what all verbs share.
type app struct {
	stdin  io.Reader
	stdout io.Writer // data
	stderr io.Writer // messages

	// What flags and variables say of all verbs; see settle.
	format  string // of data
	context string // name of a login; empty: the current one
	config  string // folder with the logins; empty: the user's own
}

// Main runs gridctl with the arguments after its name, and returns its exit code. An interrupt ends the verb
// in an orderly way; a second one ends the process.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	// Who reads no more, such as head, makes a write fail, and does not end the process before it has tidied up.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr, format: formatTable}
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
		Long: "gridctl checks jobs, runs them on this machine or on the grid, and gets their results. JOB is six or more\n" +
			"digits of a job's ID, or its name, which means the newest of that name.",
		Example: "  gridctl login grid1.eyJ...\n" +
			"  gridctl submit tour/job.yaml --wait\n" +
			"  gridctl status",
		SilenceErrors:     true, // Main reports them.
		SilenceUsage:      true,
		Args:              knownVerb,
		PersistentPreRunE: a.settle,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(flagError)
	root.PersistentFlags().StringVar(&a.context, contextFlag, "", "login to use, a `NAME` of gridctl context (default: the current one)")
	root.PersistentFlags().StringVar(&a.config, configFlag, "", "`FOLDER` with the logins (default: the user's own)")
	help := newHelpCommand()
	root.SetHelpCommand(help)
	root.CompletionOptions.DisableDefaultCmd = true // There is one with examples.
	addGroups(root, []group{
		{"Jobs on the grid", []*cobra.Command{
			newSubmitCommand(a), newStatusCommand(a), newDescribeCommand(a), newWatchCommand(a), newTopCommand(a), newWaitCommand(a),
			newResultsCommand(a), newLogsCommand(a), newCancelCommand(a),
		}},
		{"Jobs on this machine", []*cobra.Command{newValidateCommand(a), newRunCommand(a)}},
		{"The grid", []*cobra.Command{newLoginCommand(a), newContextCommand(a), newNodesCommand(a), newOpenCommand(a), newSavingsCommand(a)}},
		{"gridctl itself", []*cobra.Command{newVersionCommand(a), newCompletionCommand(), help}},
	})
	root.AddCommand(newEnvironmentTopic(), newExitCodesTopic())
	a.completeArguments(root)
	program.FitHelp(root)
	return root
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

// nothing refuses arguments.
func nothing(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s takes no argument, got %q", cmd.CommandPath(), clip(args[0])),
		"%s --help has an example", cmd.CommandPath())
}

// say writes a message. Where standard error is closed there is nobody to tell.
func (a *app) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.stderr, format+"\n", args...)
}
