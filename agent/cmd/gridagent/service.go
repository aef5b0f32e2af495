package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"idlegrid/agent/peer/node"
	"idlegrid/agent/program"
	"idlegrid/agent/service"
	"idlegrid/jobs"
)

// newService makes the verbs of the agent as a service of the system.
func newService() []*cobra.Command {
	token := ""
	return program.Daemon{
		Of: service.Agent, Role: "agent", Run: newRun,
		Flags: func(f *pflag.FlagSet) {
			f.StringVar(&token, "join-token", "", "one-time token to join a grid with, unless this machine has joined")
		},
		Prepare: func(ctx context.Context, to io.Writer, state string) error { return prepare(ctx, to, state, token) },
	}.Commands()
}

// prepare joins a grid, unless the state folder has.
func prepare(ctx context.Context, to io.Writer, state, token string) error {
	class, err := node.ClassOf(state)
	switch {
	case err == nil:
		fmt.Fprintf(to, "joined already, as %s agent\n", class)
		return nil
	case jobs.KindOf(err) != jobs.NotFound:
		return err
	case token == "":
		return jobs.WithHint(err, "add --join-token with a token from `gridcoordinator token`")
	}
	id, err := join(ctx, state, token)
	if err != nil {
		return err
	}
	fmt.Fprintf(to, "joined as %s agent %s\n", id.Caller().Class, id.ID().Short())
	return nil
}
