// Command gridcoordinator makes a grid and runs its coordinator.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/program"
	"idlegrid/agent/program/exporter"
	"idlegrid/agent/service"
	"idlegrid/coordinator"
	"idlegrid/coordinator/internal/web"
	"idlegrid/jobs"
)

func main() { os.Exit(run()) }

// run runs a command and returns the exit code.
func run() int {
	root := &cobra.Command{
		Use:   "gridcoordinator",
		Short: "Enrol machines, admit and seed jobs, report throughput",
	}
	root.AddCommand(newInit(), newRun(), newStatus(), newToken(), newReissue())
	root.AddCommand(newService()...)
	return program.Main(root)
}

func newInit() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new grid: its keys, certificates and limits file",
		Long: "Make a new grid in the state folder. Back up key.pem, issuing.pem and root.pem of it: in an empty folder\n" +
			"gridcoordinator run puts the coordinator back from these three. Move root-key.pem to a safe place: only\n" +
			"gridcoordinator reissue needs it.",
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

// garbage is how much of its memory, in per cent of what is in use, a coordinator lets become garbage, unless GOGC says
// otherwise: it has much to remember and little to do, so that it can well collect twice as often as Go's programs do.
const garbage = 50

func newRun() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the coordinator until it is stopped",
		Long: "Run the coordinator until it is stopped. With --page it has a page for browsers, which `gridctl open` opens:\n" +
			"on loopback in plain HTTP, for browsers on this machine, a tunnel or a proxy; at any other address by TLS, with\n" +
			"the certificate of --page-cert or one that the coordinator makes and keeps in its state folder.",
		Example: "  gridcoordinator run --listen :7745 --metrics 127.0.0.1:9745\n" +
			"  gridcoordinator run --page grid1.example:7746 --page-cert cert.pem --page-key key.pem",
		Args: cobra.NoArgs,
	}
	state, log, join := program.StateFlag(cmd, "coordinator"), program.LogFlags(cmd), program.JoinFlag(cmd)
	listen := cmd.Flags().String("listen", fmt.Sprintf(":%d", node.DefaultPort), "host:port for TCP and UDP; port 0 lets the system choose")
	advertise := cmd.Flags().String("advertise", "", "IP:port that others reach the coordinator at (default: where it listens)")
	metrics := cmd.Flags().String("metrics", "", "host:port of the page for Prometheus, plain HTTP (default: none)")
	var page web.Settings
	cmd.Flags().StringVar(&page.Address, "page", "", "host:port of the page for browsers (default: none)")
	cmd.Flags().StringVar(&page.URL, "page-url", "", "how browsers reach the page, where that is through a proxy")
	cmd.Flags().StringVar(&page.Cert, "page-cert", "", "PEM file with the page's certificate and those above it")
	cmd.Flags().StringVar(&page.Key, "page-key", "", "PEM file with the certificate's key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		logger, err := log()
		if err == nil {
			err = page.Check()
		}
		if err != nil {
			return err
		}
		if os.Getenv("GOGC") == "" {
			debug.SetGCPercent(garbage)
		}
		o := coordinator.Options{State: *state, Advertise: *advertise, Page: page, Log: logger}
		if o.Join, err = join(); err != nil {
			return err
		}
		if _, err := os.Stat(*state); err != nil {
			return jobs.WithHint(jobs.Errorf(jobs.NotFound, "state folder: %w", err), "make a grid first: gridcoordinator init --state %s", *state)
		}
		if o.Network, err = node.Listen(*listen); err != nil {
			return err
		}
		if *metrics != "" {
			if o.Metrics, err = exporter.Listen(*metrics); err != nil {
				return errors.Join(err, o.Network.Listener.Close(), o.Network.Packets.Close())
			}
		}
		c, err := coordinator.New(o)
		if err != nil {
			return err
		}
		return errors.Join(service.Announce(cmd.Context(), c.Run), c.Close())
	}
	return cmd
}

func newReissue() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reissue",
		Short: "Replace the issuing key, before it ends or when others have it",
		Long: "Make a new issuing key and certificate, signed by the root's key, and a certificate of the coordinator by it.\n" +
			"root-key.pem must be in the state folder for the time of this command. Machines and people keep their\n" +
			"certificates until they renew them; tokens that were not used are void. Back up issuing.pem again.",
		Example: "  gridcoordinator reissue --state /var/lib/idlegrid/coordinator",
		Args:    cobra.NoArgs,
	}
	state := program.StateFlag(cmd, "coordinator")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := openState(*state)
		if err != nil {
			return err
		}
		if err := errors.Join(coordinator.Reissue(dir), dir.Close()); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "made a new issuing key; back up issuing.pem, move root-key.pem away, and restart the coordinator if it runs")
		return nil
	}
	return cmd
}

// openState opens the folder of a coordinator that exists.
func openState(path string) (*os.Root, error) {
	dir, err := os.OpenRoot(path)
	if err != nil {
		return nil, jobs.WithHint(jobs.Errorf(jobs.NotFound, "state folder: %w", err), "run this where the coordinator's state folder is, or name it with --state")
	}
	return dir, nil
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
		dir, err := openState(*state)
		if err != nil {
			return err
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
			return "", jobs.WithHint(jobs.Errorf(jobs.KindOf(err), "the coordinator does not run, and where newcomers will find it was not said: %w", err),
				"start it with gridcoordinator run, or name where it will listen with --address host:port")
		}
		spec.Addresses = []string{a.Grid}
	}
	return coordinator.Token(dir, spec)
}
