// Command gridcoordinator makes a grid and runs its coordinator.
package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/program"
	"idlegrid/coordinator"
	"idlegrid/jobs"
)

func main() {
	root := &cobra.Command{
		Use:   "gridcoordinator",
		Short: "Enrol machines, admit and seed jobs, report throughput",
	}
	root.AddCommand(newInit(), newRun(), newToken())
	os.Exit(program.Main(root))
}

func newInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new grid: its keys, certificates and limits file",
		Long: "Make a new grid in the state folder. Back up *.pem and grid.json of it: with them the coordinator can be\n" +
			"put back. root-key.pem may be moved away: only a new issuing key needs it.",
		Example: "  gridcoordinator init --state /var/lib/idlegrid/coordinator",
		Args:    cobra.NoArgs,
	}
	state := program.StateFlag(cmd, "coordinator")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := program.MakeState(*state)
		if err != nil {
			return err
		}
		if err := errors.Join(coordinator.Init(dir), dir.Close()); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "made a grid in %s; start its coordinator with: gridcoordinator run --state %s\n", *state, *state)
		return nil
	}
	return cmd
}

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Run the coordinator until it is stopped",
		Example: "  gridcoordinator run --listen :7745 --metrics 127.0.0.1:9745",
		Args:    cobra.NoArgs,
	}
	state, log := program.StateFlag(cmd, "coordinator"), program.LogFlags(cmd)
	listen := cmd.Flags().String("listen", fmt.Sprintf(":%d", node.DefaultPort), "host:port for TCP and UDP; port 0 lets the system choose")
	advertise := cmd.Flags().String("advertise", "", "IP:port that others reach the coordinator at (default: where it listens)")
	metrics := cmd.Flags().String("metrics", "", "host:port of the page for Prometheus, plain HTTP (default: none)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		logger, err := log()
		if err != nil {
			return err
		}
		o := coordinator.Options{State: *state, Advertise: *advertise, Log: logger}
		if _, err := os.Stat(*state); err != nil {
			return jobs.WithHint(jobs.Errorf(jobs.NotFound, "state folder: %w", err), "make a grid first: gridcoordinator init --state %s", *state)
		}
		if o.Network, err = node.Listen(*listen); err != nil {
			return err
		}
		if *metrics != "" {
			if o.Metrics, err = net.Listen("tcp", *metrics); err != nil {
				return errors.Join(fmt.Errorf("listen for metrics: %w", err), o.Network.Listener.Close(), o.Network.Packets.Close())
			}
		}
		c, err := coordinator.New(o)
		if err != nil {
			return err
		}
		return errors.Join(c.Run(cmd.Context()), c.Close())
	}
	return cmd
}

type tokenFlags struct {
	role, class, owner string
	ttl                time.Duration
	addresses          []string
}

func newToken() *cobra.Command {
	var f tokenFlags
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Print a one-time token for a machine or a person",
		Example: "  gridcoordinator token --class office\n" +
			"  gridcoordinator token --role submitter --owner alice",
		Args: cobra.NoArgs,
	}
	state := program.StateFlag(cmd, "coordinator")
	cmd.Flags().StringVar(&f.role, "role", "agent", "agent, submitter or operator")
	cmd.Flags().StringVar(&f.class, "class", "", "of an agent: always-on, office or laptop")
	cmd.Flags().StringVar(&f.owner, "owner", "", "person or department it belongs to (default: each key its own)")
	cmd.Flags().DurationVar(&f.ttl, "ttl", 24*time.Hour, "how long the token may be used")
	cmd.Flags().StringSliceVar(&f.addresses, "address", nil, "host:port of the coordinator for the newcomer (default: where it listens)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		spec, err := f.spec()
		if err != nil {
			return err
		}
		dir, err := os.OpenRoot(*state)
		if err != nil {
			return jobs.WithHint(jobs.Errorf(jobs.NotFound, "state folder: %w", err), "run this where the coordinator's state folder is")
		}
		text, err := f.mint(dir, spec)
		if err := errors.Join(err, dir.Close()); err != nil {
			return err
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), text)
		return err
	}
	return cmd
}

func (f *tokenFlags) spec() (identity.TokenSpec, error) {
	spec := identity.TokenSpec{TTL: f.ttl, Addresses: f.addresses}
	var err error
	if spec.Role, err = peer.ParseRole(f.role); err != nil {
		return spec, err
	}
	if spec.Role == peer.Coordinator {
		return spec, jobs.Errorf(jobs.Invalid, "--role coordinator: a coordinator is made with gridcoordinator init")
	}
	if f.class != "" {
		if spec.Class, err = peer.ParseClass(f.class); err != nil {
			return spec, err
		}
	}
	spec.Owner = f.owner
	return spec, nil
}

// mint fills in where the coordinator listens now, unless it was said.
func (f *tokenFlags) mint(dir *os.Root, spec identity.TokenSpec) (string, error) {
	if len(spec.Addresses) == 0 {
		a, err := node.LoadAddresses(dir)
		if err != nil {
			return "", jobs.WithHint(err, "start the coordinator first, or name where newcomers find it with --address host:port")
		}
		spec.Addresses = []string{a.Grid}
	}
	return coordinator.Token(dir, spec)
}
