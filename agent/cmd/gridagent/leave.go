package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent"
	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/owner"
	"idlegrid/agent/internal/panel"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// cacheFolder has the compiled programs, in the state folder.
const cacheFolder = "cache"

// endTimeout bounds how long an agent may take to end that has handed everything over.
const endTimeout = 30 * time.Second

type leaveFlags struct {
	state   string
	timeout time.Duration
	force   bool
}

func newLeave() *cobra.Command {
	var f leaveFlags
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Leave the grid for good: hand over what is needed, remove the rest",
		Long: "leave has the agent on this machine give its units back, hand its reports to the stewards and its blobs to\n" +
			"agents that keep them, say goodbye and end. Then it removes identity and data from the state folder, where\n" +
			"`gridagent join` works again; policy.yaml there is the administrator's, and stays. If something cannot be\n" +
			"handed over in time, nothing is removed and the agent goes on. To stop an agent for a while, stop its service:\n" +
			"nothing needs to be handed over for that.",
		Example: "  gridagent leave --timeout 10m",
		Args:    cobra.NoArgs,
	}
	state := program.StateFlag(cmd, "agent")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 2*time.Minute, "how long handing over may take")
	cmd.Flags().BoolVar(&f.force, "force", false, "leave even if something cannot be handed over, or the agent does not run; what only it keeps is lost")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.timeout < time.Second || f.timeout > 24*time.Hour {
			return jobs.Errorf(jobs.Invalid, "--timeout %s: expected 1s to 24h", f.timeout)
		}
		f.state = *state
		return f.leave(cmd.Context(), cmd.ErrOrStderr())
	}
	return cmd
}

func (f *leaveFlags) leave(ctx context.Context, to io.Writer) error {
	half, err := node.HalfRemoved(f.state)
	if err != nil {
		return err
	}
	if !half { // else an earlier leave was interrupted, when all was handed over
		if _, err := node.ClassOf(f.state); err != nil {
			return err
		}
		err := node.WithControl(ctx, f.state, func(ctx context.Context, c gridv1.ControlClient) error { return f.handOver(ctx, to, c) })
		switch {
		case errors.Is(err, node.ErrNotRunning) && !f.force:
			return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "the agent does not run, so that it cannot hand over what others need"),
				"start it first: gridagent run --state %s; or --force removes its data as it is: what only this agent keeps is lost", f.state)
		case err != nil && !errors.Is(err, node.ErrNotRunning):
			return err
		}
	}
	ended, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if err := node.AwaitStopped(ended, f.state); err != nil {
		return err
	}
	files := slices.Concat(harvest.Files(), owner.Files(), []string{cacheFolder, agent.ScratchFolder, panel.SeenFile, policy.OwnerFile})
	if err := node.RemoveAgent(f.state, files...); err != nil {
		return jobs.WithHint(fmt.Errorf("remove the agent's data: %w", err), "run this again")
	}
	fmt.Fprintf(to, "left the grid; %s can join again\n", f.state)
	rules := filepath.Join(f.state, policy.LocalFile)
	if _, err := os.Lstat(rules); err == nil {
		fmt.Fprintf(to, "kept %s: it is the policy of this PC's administrator, and counts again after the next join\n", rules)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look whether a policy is kept: %w", err)
	}
	return nil
}

// handOver has the agent hand everything over, and tells of it.
func (f *leaveFlags) handOver(ctx context.Context, to io.Writer, c gridv1.ControlClient) error {
	stream, err := c.Leave(ctx, &gridv1.LeaveRequest{TimeoutMs: uint32(f.timeout.Milliseconds()), Force: f.force})
	if err != nil {
		return err
	}
	last := ""
	for {
		p, err := stream.Recv()
		if err != nil {
			return err // the stream ends with done, or with an error
		}
		if p.GetDone() {
			return nil
		}
		line := fmt.Sprintf("to hand over: %s, %s, %s", program.Count(p.GetBundles(), "bundle"),
			program.Count(p.GetReports(), "report"), program.Count(p.GetBlobs(), "blob"))
		if line != last {
			fmt.Fprintln(to, line)
		}
		last = line
	}
}
