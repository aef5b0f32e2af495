package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"idlegrid/agent/program"
	gridv1 "idlegrid/proto/grid/v1"
)

func newPanel() *cobra.Command {
	var show bool
	cmd := &cobra.Command{
		Use:   "panel",
		Short: "Open the page about this machine in a browser",
		Long: "panel opens the owner's page: what runs here and why, buttons to pause and stop it, the last day, history\n" +
			"and policy. The page is on this machine only; its address lets in whoever has it for a few minutes.",
		Example: "  gridagent panel\n  gridagent panel --print",
		Args:    cobra.NoArgs,
	}
	state := program.StateFlag(cmd, "agent")
	cmd.Flags().BoolVar(&show, "print", false, "print the address and open nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var r *gridv1.PanelReply
		err := askOwner(cmd.Context(), *state, func(ctx context.Context, c gridv1.OwnerClient) (err error) {
			r, err = c.Panel(ctx, &gridv1.PanelRequest{})
			return err
		})
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), r.GetUrl())
		if show {
			return nil
		}
		if err := program.Browse(r.GetUrl()); err != nil {
			fmt.Fprintf(cmd.ErrOrStderr(), "cannot open a browser here (%v), open the address above in one on this machine\n", err)
		}
		return nil
	}
	return cmd
}
