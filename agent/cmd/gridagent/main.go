// Command gridagent is the service that runs on a PC or server of the grid.
package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"github.com/spf13/cobra"

	"idlegrid/agent"
	"idlegrid/agent/executor"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/steward"
	"idlegrid/agent/program"
	"idlegrid/agent/program/exporter"
	"idlegrid/agent/service"
	"idlegrid/jobs"
)

func main() {
	executor.Main()
	os.Exit(run())
}

// run runs a command and returns the exit code.
func run() int {
	root := &cobra.Command{
		Use:   "gridagent",
		Short: "Run work units of the grid on this machine",
	}
	root.AddCommand(newJoin(), newRun(), newStatus(), newLeave(), newSessionHelper())
	root.AddCommand(newService()...)
	root.AddCommand(newOwner()...)
	return program.Main(root)
}

func newJoin() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "join TOKEN",
		Short:   "Join a grid with a one-time token",
		Example: "  gridagent join grid1.eyJ...",
		Args:    cobra.ExactArgs(1),
	}
	state := program.StateFlag(cmd, "agent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := join(cmd.Context(), *state, args[0])
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "joined as %s agent %s; start it with: gridagent run --state %s\n",
			id.Caller().Class, id.ID().Short(), *state)
		return nil
	}
	return cmd
}

// join enrols this machine. If that fails, a folder made for it goes again, unless it has a key to try again with.
func join(ctx context.Context, state, token string) (*identity.Identity, error) {
	_, missing := os.Stat(state)
	dir, err := program.MakeState(state)
	if err != nil {
		return nil, err
	}
	id, _, err := node.Enrol(ctx, dir, token, peer.Agent)
	if err := errors.Join(err, dir.Close()); err != nil {
		if errors.Is(missing, fs.ErrNotExist) {
			_ = os.Remove(state) // fails if there is a key
		}
		return nil, err
	}
	return id, nil
}

type runFlags struct {
	state, listen, advertise string
	metrics                  string
	join                     []string
	root, bus                string // where signals are looked for
	cores, diskGiB           int
	repairKiB                int
	lease                    steward.Lease
}

func newRun() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:     "run",
		Short:   "Run the agent until it is stopped",
		Example: "  gridagent run --cores 4",
		Args:    cobra.NoArgs,
	}
	state, log, join := program.StateFlag(cmd, "agent"), program.LogFlags(cmd), program.JoinFlag(cmd)
	cmd.Flags().StringVar(&f.listen, "listen", fmt.Sprintf(":%d", node.DefaultPort), "host:port for TCP and UDP; port 0 lets the system choose")
	cmd.Flags().StringVar(&f.advertise, "advertise", "", "IP:port that others reach this agent at (default: where it listens)")
	cmd.Flags().StringVar(&f.metrics, "metrics", "", "host:port of a page for Prometheus, plain HTTP, such as 127.0.0.1:9746 (default: none)")
	cmd.Flags().IntVar(&f.repairKiB, "repair-kib", node.RepairRate>>10, "KiB a second to repair copies of programs, inputs and results with, at most")
	cmd.Flags().IntVar(&f.diskGiB, "disk-gib", 20, "GiB of disk for programs, inputs and results, at most")
	cmd.Flags().IntVar(&f.cores, "cores", runtime.NumCPU(), "units that run at once")
	cmd.Flags().DurationVar(&f.lease.Period, "lease-period", steward.DefaultPeriod, "how often a steward hears of leased units; the same on all agents")
	cmd.Flags().DurationVar(&f.lease.TTL, "lease-ttl", steward.DefaultTTL, "how long leases outlive their holder's last word, at least three periods; the same on all agents")
	cmd.Flags().StringVar(&f.root, "signals-root", "", "folder with proc, sys and dev to look for signals in, for tests")
	cmd.Flags().StringVar(&f.bus, "signals-bus", "", "address of the system's D-Bus, for tests")
	for _, hidden := range []string{"signals-root", "signals-bus"} {
		if err := cmd.Flags().MarkHidden(hidden); err != nil {
			panic(err) // there is no such flag
		}
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		logger, err := log()
		if err != nil {
			return err
		}
		if f.cores < 1 || f.cores > 1024 {
			return jobs.Errorf(jobs.Invalid, "--cores %d: expected 1 to 1024", f.cores)
		}
		if f.repairKiB < 1 || f.repairKiB > 1<<20 {
			return jobs.Errorf(jobs.Invalid, "--repair-kib %d: expected 1 to %d", f.repairKiB, 1<<20)
		}
		if f.diskGiB < 1 || f.diskGiB > 1<<20 {
			return jobs.Errorf(jobs.Invalid, "--disk-gib %d: expected 1 to %d", f.diskGiB, 1<<20)
		}
		if f.lease.Period <= 0 || f.lease.TTL <= 0 {
			return jobs.Errorf(jobs.Invalid, "--lease-period %s, --lease-ttl %s: expected times above zero", f.lease.Period, f.lease.TTL)
		}
		if err := f.lease.Validate(); err != nil {
			return err
		}
		peers, err := join()
		if err != nil {
			return err
		}
		f.state, f.join = *state, peers
		class, err := node.ClassOf(f.state)
		if err != nil {
			return err
		}
		d := &daemon{flags: f, class: class, log: logger}
		if err := d.start(); err != nil {
			return err
		}
		return service.Announce(cmd.Context(), d.run)
	}
	return cmd
}

// daemon is an agent that begins anew after each night.
type daemon struct {
	flags runFlags
	class peer.Class
	log   *slog.Logger

	pool  *executor.Pool
	side  *side
	agent *agent.Agent // nil: none is ready
}

// start makes an agent that is ready to run.
func (d *daemon) start() error {
	f := d.flags
	network, err := node.Listen(f.listen)
	if err != nil {
		return err
	}
	page, err := d.listenForMetrics()
	if err != nil {
		return errors.Join(err, network.Listener.Close(), network.Packets.Close())
	}
	d.pool = executor.NewPool(executor.Options{
		Slots: f.cores, Cache: filepath.Join(f.state, cacheFolder), Log: d.log,
		Background: d.class != peer.AlwaysOn, // there is no owner to be noticed by
	})
	d.side = newSide(f, d.class != peer.AlwaysOn, d.pool, d.log)
	d.agent, err = agent.New(agent.Options{
		State: f.state, Network: network, Advertise: f.advertise, Join: f.join, Cores: f.cores, Quota: int64(f.diskGiB) << 30, RepairRate: int64(f.repairKiB) << 10,
		Lease: f.lease, Runner: d.pool, Runtime: executor.Runtime(), Overhead: d.pool.Overhead, Owner: d.side.sees(d.pool), Hooks: d.side.hooks(func() *agent.Agent { return d.agent }),
		Metrics: page, Log: d.log,
	})
	if err == nil {
		if err = d.side.attach(d.agent, f, d.class, d.pool, d.log); err != nil {
			err = errors.Join(err, d.agent.Close())
		}
	}
	if err != nil {
		err = errors.Join(err, d.side.close())
		d.pool.Close()
	}
	return err
}

// listenForMetrics opens the page for Prometheus, if there is to be one.
func (d *daemon) listenForMetrics() (net.Listener, error) {
	if d.flags.metrics == "" {
		return nil, nil
	}
	l, err := exporter.Listen(d.flags.metrics)
	if err == nil && d.class != peer.AlwaysOn && !l.Addr().(*net.TCPAddr).IP.IsLoopback() {
		d.log.Warn("other machines can read this agent's metrics, which tell on which days this PC was used", "address", l.Addr(),
			"hint", "give --metrics an address of loopback, or let a firewall allow only who collects them")
	}
	return l, err
}

// run runs the agent until ctx ends, through the nights of a PC; a server has none.
func (d *daemon) run(ctx context.Context) error {
	if d.class == peer.AlwaysOn {
		return d.once(ctx)
	}
	watch := func(ctx context.Context, handle service.Handler) error { return service.Watch(ctx, d.log, handle) }
	return throughSleep(ctx, d.log, watch, d.once)
}

func (d *daemon) once(ctx context.Context) error {
	if d.agent == nil {
		if err := d.start(); err != nil {
			return err
		}
	}
	d.side.serve(d.log)
	err := d.agent.Run(ctx)
	err = errors.Join(err, d.side.close(), d.agent.Close())
	d.pool.Close()
	d.agent = nil
	return err
}
