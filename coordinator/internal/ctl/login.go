package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/node"
	"idlegrid/jobs"
)

// loginTimeout bounds a login: longer than a slow PC needs for it, and short for one who waits for nothing.
const loginTimeout = 10 * time.Second

func newLoginCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "login TOKEN",
		Short: "Become a submitter of a grid with a one-time token",
		Long: "login makes a key on this machine and has the coordinator certify it. The login is a context, named by\n" +
			"--context or else default, and becomes the current one. See gridctl help environment for where it is kept.",
		Example: "  gridctl login grid1.eyJ...\n" +
			"  gridctl login grid1.eyJ... --context work",
		Args: exactly("TOKEN"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.login(cmd.Context(), args[0]) },
	}
}

func (a *app) login(ctx context.Context, token string) error {
	l, err := a.openLogins()
	if err != nil {
		return err
	}
	name := cmp.Or(a.context, defaultContext)
	path := l.folder(name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("make the folder for gridctl's login: %w", err)
	}
	dir, err := os.OpenRoot(path)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	id, _, err := node.Enrol(ctx, dir, token, peer.Submitter, peer.Operator)
	if jobs.KindOf(err) == jobs.Unavailable { // the hint stays
		err = jobs.Errorf(jobs.Unavailable, "login needs the coordinator, which certifies the key: %w", err)
	}
	if err := errors.Join(err, dir.Close()); err != nil {
		_ = os.Remove(path) // Only an empty folder goes: a key that was made stays, to ask again with.
		if jobs.KindOf(err) == jobs.Exists {
			return jobs.WithHint(jobs.Errorf(jobs.Exists, "you are logged in as context %s already", name),
				"--context NAME logs in beside it, `gridctl context remove %s` ends it", name)
		}
		return err
	}
	if err := l.use(name); err != nil {
		return err
	}
	a.say("logged in as %s %s, context %s, key and certificate in %s", id.Caller().Role, id.ID().Short(), name, path)
	return nil
}
