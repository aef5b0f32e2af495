package program

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"idlegrid/agent/service"
	"idlegrid/jobs"
)

// Daemon is a daemon that can be a service of the system.
type Daemon struct {
	// Of describes its service.
	Of func(program, state string, args []string) service.Service
	// Role names its state folder, as in StateFlag.
	Role string
	// Run makes its run verb, which the service is.
	Run func() *cobra.Command
	// Flags adds flags to its install verb; nil: none.
	Flags func(*pflag.FlagSet)
	// Prepare makes sure that there is something to run in a state folder, before anything is installed.
	Prepare func(ctx context.Context, to io.Writer, state string) error
}

// Commands returns the verbs that make a daemon a service of the system.
func (d Daemon) Commands() []*cobra.Command {
	s := d.Of("", "", nil)
	return []*cobra.Command{
		d.install(),
		d.verb("uninstall", "Remove the service; the state folder stays", func(cmd *cobra.Command) error {
			return s.Uninstall(cmd.Context(), cmd.OutOrStdout())
		}),
		d.verb("start", "Start the service", func(cmd *cobra.Command) error { return s.Start(cmd.Context()) }),
		d.verb("stop", "Stop the service until the system starts again", func(cmd *cobra.Command) error { return s.Stop(cmd.Context()) }),
		d.serve(),
	}
}

func (d Daemon) name() string { return d.Of("", "", nil).Name }

func (d Daemon) verb(name, short string, do func(*cobra.Command) error) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Example: "  " + d.name() + " " + name, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return do(cmd) },
	}
}

func (d Daemon) install() *cobra.Command {
	name := d.name()
	cmd := &cobra.Command{
		Use:   "install [flags] [-- run's flags]",
		Short: "Install and start it as a service of this system",
		Long: "install makes this program a service: with a user of its own, started with the system and after a crash. What\n" +
			"stands after -- is passed to the run verb. Once more, it replaces what is installed and restarts it. It needs\n" +
			"an administrator; --dry-run does not, and prints what the system would be told.",
		Example: "  " + name + " install --dry-run\n  " + name + " install -- --listen :7745",
		Args:    afterDash,
	}
	state := StateFlag(cmd, d.Role)
	dry := cmd.Flags().Bool("dry-run", false, "print what the system would be told, and change nothing")
	if d.Flags != nil {
		d.Flags(cmd.Flags())
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := d.describe(*state, args)
		if err != nil {
			return err
		}
		text, err := s.Definition()
		if err != nil {
			return err
		}
		if *dry {
			_, err := fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		}
		if err := s.Check(); err != nil {
			return err
		}
		if err := d.Prepare(cmd.Context(), cmd.OutOrStdout(), s.State); err != nil {
			return err
		}
		return s.Install(cmd.Context(), cmd.OutOrStdout())
	}
	return cmd
}

// afterDash takes arguments behind -- only.
func afterDash(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
		return fmt.Errorf("unknown argument %.40q", args[0])
	}
	return nil
}

// describe describes the service of this very program.
func (d Daemon) describe(state string, args []string) (service.Service, error) {
	if _, err := d.parse(args, false); err != nil {
		return service.Service{}, err
	}
	state, err := filepath.Abs(state)
	if err != nil {
		return service.Service{}, err
	}
	path, err := os.Executable()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return service.Service{}, fmt.Errorf("find this program: %w", err)
	}
	return d.Of(path, state, args), nil
}

// parse reads arguments as those of the run verb, with or without the state folder, which it returns.
func (d Daemon) parse(args []string, state bool) (string, error) {
	run := d.Run()
	err := run.ParseFlags(args)
	switch {
	case err == nil && run.Flags().NArg() > 0:
		err = fmt.Errorf("unknown argument %.40q", run.Flags().Arg(0))
	case err == nil && run.Flags().Changed("state") != state:
		err = fmt.Errorf("--state %s", map[bool]string{true: "is missing", false: "stands before the --"}[state])
	}
	if err != nil {
		return "", jobs.WithHint(jobs.Errorf(jobs.Invalid, "flags of run: %w", err), "%s run --help lists them", d.name())
	}
	return run.Flags().Lookup("state").Value.String(), nil
}

// serve is the verb that the service manager of Windows calls.
func (d Daemon) serve() *cobra.Command {
	return &cobra.Command{
		Use: service.ServeVerb, Hidden: true, DisableFlagParsing: true,
		Short:   "Run as a service of Windows, called by its service manager",
		Example: "  " + d.name() + " " + service.ServeVerb + ` --state C:\ProgramData\idlegrid\` + d.Role,
		RunE: func(cmd *cobra.Command, args []string) error {
			state, err := d.parse(args, true)
			if err != nil {
				return err
			}
			return service.Serve(cmd.Context(), d.Of("", state, nil), func(ctx context.Context) error {
				run := d.Run()
				run.SilenceErrors, run.SilenceUsage = true, true
				run.SetArgs(args)
				return run.ExecuteContext(ctx)
			})
		},
	}
}
