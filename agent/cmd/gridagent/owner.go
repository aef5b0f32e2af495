package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/connectivity"

	"idlegrid/agent/internal/local"
	"idlegrid/agent/internal/owner"
	"idlegrid/agent/peer/node"
	"idlegrid/agent/peer/rpc"
	"idlegrid/agent/program"
	"idlegrid/jobs"
	gridv1 "idlegrid/proto/grid/v1"
)

// ownerTimeout bounds a question to the agent on this machine.
const ownerTimeout = 10 * time.Second

// askOwner calls f with a connection to the agent of a state folder, over the local socket that every user of this
// machine reaches. Who may not look into the folder may ask all the same.
func askOwner(ctx context.Context, state string, f func(context.Context, gridv1.OwnerClient) error) (err error) {
	if _, err := node.ClassOf(state); err != nil && jobs.KindOf(err) != jobs.Denied {
		return err
	}
	path := local.DefaultPath(state)
	cc, err := local.Dial(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, cc.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, ownerTimeout)
	defer cancel()
	err = rpc.FromStatus(f(ctx, gridv1.NewOwnerClient(cc)))
	if err == nil || cc.GetState() == connectivity.Ready {
		return err
	}
	return unreached(state, path, err)
}

// unreached says why nobody answered.
func unreached(state, path string, err error) error {
	if _, err := os.Stat(path); errors.Is(err, fs.ErrPermission) {
		return jobs.WithHint(jobs.Errorf(jobs.Denied, "reach the agent: %w", err), "run this as the user whom the agent runs as")
	}
	// Who may not look into the folder cannot tell, and learns that nobody listens.
	if runs, e := node.Running(state); e == nil && runs {
		return jobs.WithHint(jobs.Errorf(jobs.Unavailable, "the agent runs but does not listen at %s: %w", path, err),
			"it starts or stops just now, or its log says why it cannot listen there")
	}
	return program.NotRunning(jobs.WithHint(jobs.Errorf(jobs.Unavailable, "the agent does not run"),
		"start it with: gridagent run --state %s", state))
}

// newOwner returns the commands of the people at a PC.
func newOwner() []*cobra.Command {
	return []*cobra.Command{newWhy(), newPause(), newResume(), newStopJobs(), newHistory(), newPolicy(), newPanel()}
}

const pauseWhen = "With no time it lasts until `gridagent resume`; else for a time such as 90m or 2h, or until a time of day, or\n" +
	"until tomorrow, which begins at 06:00. "

func newPause() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pause [DURATION | until HH:MM | until tomorrow]",
		Short: "Freeze all work on this machine",
		Long: "pause freezes all work at once, whatever the policy says. " + pauseWhen + "Whoever is logged in\n" +
			"at this machine may pause and resume.",
		Example: "  gridagent pause 1h\n  gridagent pause until tomorrow",
		Args:    cobra.MaximumNArgs(2),
	}
	state := program.StateFlag(cmd, "agent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return pause(cmd, *state, args, "paused", func(ctx context.Context, c gridv1.OwnerClient, r *gridv1.PauseRequest) (*gridv1.PauseReply, error) {
			return c.Pause(ctx, r)
		})
	}
	return cmd
}

func newStopJobs() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stop-jobs [DURATION | until HH:MM | until tomorrow]",
		Short: "Give all work on this machine back at once, and pause",
		Long: "stop-jobs gives all work back with its newest checkpoint, so that it ends on other machines, frees its memory\n" +
			"and pauses. " + pauseWhen,
		Example: "  gridagent stop-jobs\n  gridagent stop-jobs until 17:30",
		Args:    cobra.MaximumNArgs(2),
	}
	state := program.StateFlag(cmd, "agent")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return pause(cmd, *state, args, "all work goes back; paused",
			func(ctx context.Context, c gridv1.OwnerClient, r *gridv1.PauseRequest) (*gridv1.PauseReply, error) {
				return c.StopJobs(ctx, r)
			})
	}
	return cmd
}

func pause(
	cmd *cobra.Command, state string, args []string, said string,
	do func(context.Context, gridv1.OwnerClient, *gridv1.PauseRequest) (*gridv1.PauseReply, error),
) error {
	r, err := pauseOf(args, time.Now())
	if err != nil {
		return err
	}
	var reply *gridv1.PauseReply
	err = askOwner(cmd.Context(), state, func(ctx context.Context, c gridv1.OwnerClient) (err error) {
		reply, err = do(ctx, c, r)
		return err
	})
	if err != nil {
		return err
	}
	until := "you resume it: gridagent resume"
	if at := reply.GetUntilMs(); at != 0 {
		until = program.Moment(at).Local().Format("Mon 2 Jan 15:04")
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s until %s\n", said, until)
	return nil
}

// pauseOf reads the words behind pause and stop-jobs.
func pauseOf(args []string, now time.Time) (*gridv1.PauseRequest, error) {
	r := &gridv1.PauseRequest{}
	switch {
	case len(args) == 0:
		return r, nil
	case len(args) == 2 && args[0] == "until":
		if args[1] == "tomorrow" {
			r.UntilMs = owner.Tomorrow(now).UnixMilli()
			return r, nil
		}
		if at, err := time.Parse("15:04", args[1]); err == nil {
			y, m, d := now.Date()
			day := time.Date(y, m, d, at.Hour(), at.Minute(), 0, 0, now.Location())
			if !day.After(now) {
				day = time.Date(y, m, d+1, at.Hour(), at.Minute(), 0, 0, now.Location())
			}
			r.UntilMs = day.UnixMilli()
			return r, nil
		}
	case len(args) == 1:
		if d, err := time.ParseDuration(args[0]); err == nil && d >= time.Second {
			r.ForMs = uint64(d.Milliseconds())
			return r, nil
		}
	}
	return nil, jobs.WithHint(jobs.Errorf(jobs.Invalid, "%.80q is no time to pause", strings.Join(args, " ")),
		"such as: 90m, 2h, until 17:30, until tomorrow, or nothing to pause until you resume")
}
