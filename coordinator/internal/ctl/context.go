package ctl

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

func newContextCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "List your logins, and choose between them",
		Long: "context lists your logins: one a grid, or several as several people. Each is a context with a name, and\n" +
			"one of them is the current one, which every verb uses unless --context or GRID_CONTEXT names another.",
		Example: "  gridctl context\n" +
			"  gridctl context use work\n" +
			"  gridctl status --context work",
		Args: knownVerb,
		RunE: func(*cobra.Command, []string) error { return a.listContexts() },
	}
	a.outputFlag(cmd)
	cmd.AddCommand(
		&cobra.Command{
			Use:     "use NAME",
			Short:   "Make a context the current one",
			Long:    "use makes a context the one that verbs use if nobody says.",
			Example: "  gridctl context use work",
			Args:    exactly("NAME"),
			RunE:    func(_ *cobra.Command, args []string) error { return a.useContext(args[0]) },
		},
		newContextRemoveCommand(a),
	)
	return cmd
}

func newContextRemoveCommand(a *app) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "remove NAME",
		Short: "Forget a login",
		Long: "remove deletes a login's key and certificate from this machine. Jobs that were submitted with them go on, but\n" +
			"nobody else can get their results. The current context is removed with --force only.",
		Example: "  gridctl context remove work",
		Args:    exactly("NAME"),
		RunE:    func(_ *cobra.Command, args []string) error { return a.removeContext(args[0], force) },
	}
	cmd.Flags().BoolVar(&force, "force", false, "remove it even if it is the current one")
	return cmd
}

func (a *app) listContexts() error {
	l, err := a.openLogins()
	if err != nil {
		return err
	}
	all, err := l.list()
	if err != nil {
		return err
	}
	d := data{value: all, narrow: 6, rows: [][]string{{
		"CURRENT", "NAME", "ROLE", "ID", "COORDINATOR", "CERTIFICATE UNTIL", "OWNER", "GRID", "FOLDER",
	}}}
	for _, v := range all {
		d.rows, d.names = append(d.rows, v.row()), append(d.names, v.Name)
		if v.Problem != "" {
			a.say("context %s cannot be used: %s", v.Name, clean(v.Problem))
		}
	}
	switch {
	case len(all) == 0:
		a.say("you are not logged in to a grid")
		a.hint("run `gridctl login TOKEN` with the token that the operator gave you")
	case !slices.ContainsFunc(all, func(v contextView) bool { return v.Current }):
		a.say("none of them is the current one, which is %s", l.current)
		a.hint("gridctl context use " + all[0].Name)
	}
	return a.show(d)
}

func (v contextView) row() []string {
	mark, until, id, grid := "", "", v.ID, v.Grid
	if v.Current {
		mark = "*"
	}
	if !v.Ends.IsZero() {
		until, id, grid = minute(v.Ends), id[:8], grid[:8]
	}
	return []string{mark, v.Name, v.Role, id, strings.Join(v.Coordinators, " "), until, v.Owner, grid, v.Folder}
}

func (a *app) useContext(name string) error {
	l, err := a.openLogins()
	if err != nil {
		return err
	}
	if _, err := l.find(name); err != nil {
		return err
	}
	if err := l.use(name); err != nil {
		return err
	}
	a.say("the current context is %s", name)
	return nil
}

func (a *app) removeContext(name string, force bool) error {
	l, err := a.openLogins()
	if err != nil {
		return err
	}
	v, err := l.find(name)
	if err != nil {
		return err
	}
	if v.Current && !force {
		return jobs.WithHint(jobs.Errorf(jobs.Invalid, "%s is the current context", name),
			"`gridctl context use NAME` makes another the current one; --force removes this one all the same")
	}
	if err := l.remove(name); err != nil {
		return fmt.Errorf("remove context %s: %w", name, err)
	}
	a.say("removed context %s", name)
	return nil
}
