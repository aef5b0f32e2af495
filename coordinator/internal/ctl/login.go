package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/node"
)

func newLoginCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "login TOKEN",
		Short: "Become a submitter of a grid with a one-time token",
		Long: "login makes a key on this machine and has the coordinator certify it. The key stays in the folder that\n" +
			configVariable + " names, or else in gridctl in the user's configuration folder.",
		Example: "  gridctl login grid1.eyJ...",
		Args:    exactly("TOKEN"),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.login(cmd.Context(), args[0]) },
	}
}

func (a *app) login(ctx context.Context, token string) error {
	path, err := configFolder()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make the folder for gridctl's login: %w", err)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	id, _, err := node.Enrol(ctx, dir, token, peer.Submitter, peer.Operator)
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	a.say("logged in as %s %s, key and certificate in %s", id.Caller().Role, id.ID().Short(), path)
	return nil
}
