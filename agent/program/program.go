// Package program is what the mains of the daemons share: signals, logs, how an error is told, and where a
// state folder lies when nobody says.
package program

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

// Main runs a command with the process's arguments and returns the exit code: 0, 1 for an error, 2 for wrong
// usage or a wrong file, 3 when it asked for a daemon that does not run. SIGINT and SIGTERM end the command's
// context; a second one ends the process.
func Main(root *cobra.Command) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	prepare(root)
	return tell(os.Stderr, root.Name(), root.ExecuteContext(ctx))
}

// prepare makes whatever is wrong with a command line an error of kind Invalid.
func prepare(root *cobra.Command) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.AddCommand(newVersion(root.Name()))
	root.SetFlagErrorFunc(usage)
	FitHelp(root)
	prepareArgs(root)
}

// prepareArgs does so for a command's words and those of the commands below it. One with commands below does nothing
// but show its help.
func prepareArgs(cmd *cobra.Command) {
	switch args := cmd.Args; {
	case cmd.HasSubCommands():
		cmd.Args = func(cmd *cobra.Command, list []string) error {
			if len(list) == 0 {
				return nil
			}
			return usage(cmd, fmt.Errorf("unknown command %.40q", list[0]))
		}
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	case args != nil:
		cmd.Args = func(cmd *cobra.Command, list []string) error { return usage(cmd, args(cmd, list)) }
	}
	for _, sub := range cmd.Commands() {
		prepareArgs(sub)
	}
}

func usage(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%w", err), "%s --help shows how it is called", cmd.CommandPath())
}

func tell(to io.Writer, name string, err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(to, "%s: %v\n", name, err)
	if hint := jobs.HintOf(err); hint != "" {
		fmt.Fprintf(to, "hint: %s\n", hint)
	}
	var notRunning *notRunningError
	switch {
	case errors.As(err, &notRunning):
		return 3
	case jobs.KindOf(err) == jobs.Invalid:
		return 2
	}
	return 1
}

// notRunningError is the answer of a status command whose daemon does not run. It ends the program with exit code
// 3, as other tools say that a service is not active.
type notRunningError struct{ error }

func (e *notRunningError) Unwrap() error { return e.error }

// NotRunning makes err the answer of a command whose daemon does not run: the program ends with exit code 3.
func NotRunning(err error) error { return &notRunningError{err} }

// LogFlags adds --log-level and --log-format and returns a function that makes the log, on standard error.
func LogFlags(cmd *cobra.Command) func() (*slog.Logger, error) {
	level := cmd.Flags().String("log-level", "info", "debug, info, warn or error")
	format := cmd.Flags().String("log-format", "text", "text or json, one line an event")
	return func() (*slog.Logger, error) {
		o := &slog.HandlerOptions{}
		var l slog.Level
		if err := l.UnmarshalText([]byte(*level)); err != nil {
			return nil, jobs.Errorf(jobs.Invalid, "--log-level: %w", err)
		}
		o.Level = l
		switch to := cmd.ErrOrStderr(); *format {
		case "text":
			return slog.New(slog.NewTextHandler(to, o)), nil
		case "json":
			return slog.New(slog.NewJSONHandler(to, o)), nil
		}
		return nil, jobs.Errorf(jobs.Invalid, "--log-format %.80q: expected text or json", *format)
	}
}

// StateFlag adds --state with the system's folder for a daemon's state as its default.
func StateFlag(cmd *cobra.Command, name string) *string {
	return cmd.Flags().String("state", filepath.Join(stateRoot(), name), "state folder")
}

// JoinFlag adds --join and returns a function that checks what was said.
func JoinFlag(cmd *cobra.Command) func() ([]string, error) {
	join := cmd.Flags().StringSlice("join", nil, "host:port of a peer to find the grid by, beside those it knows; may be repeated")
	return func() ([]string, error) {
		for _, address := range *join {
			if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
				return nil, jobs.Errorf(jobs.Invalid, "--join %.300q: expected host:port", address)
			}
		}
		return *join, nil
	}
}

// stateRoot is where services keep their state on this system.
func stateRoot() string {
	switch runtime.GOOS {
	case "windows":
		if data := os.Getenv("ProgramData"); data != "" {
			return filepath.Join(data, "idlegrid")
		}
		return `C:\ProgramData\idlegrid`
	case "darwin":
		return "/Library/Application Support/idlegrid"
	default:
		return "/var/lib/idlegrid"
	}
}

// MakeState makes a state folder that only its owner can look into. The folders above it are for everybody to pass
// through: services with other users have theirs beside it.
func MakeState(path string) (*os.Root, error) {
	err := os.MkdirAll(filepath.Dir(path), 0o755) //nolint:gosec // see above
	if err == nil {
		err = os.MkdirAll(path, 0o700)
	}
	if err != nil {
		return nil, jobs.WithHint(fmt.Errorf("make state folder: %w", err), "name a folder that you may write to with --state")
	}
	return os.OpenRoot(path)
}
