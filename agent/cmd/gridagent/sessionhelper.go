package main

import (
	"github.com/spf13/cobra"

	"idlegrid/agent/internal/local"
	"idlegrid/agent/internal/session"
	"idlegrid/agent/program"
)

// newSessionHelper is for the desktop's autostart, which is why it is hidden.
func newSessionHelper() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "session-helper",
		Short: "Tell the agent on this machine when this session is in use",
		Long: "session-helper runs in a user's session, started with it and by the user. It tells the agent how long ago a\n" +
			"key or the pointer was used, whether the screen is locked, and whether something is shown to others. It tells\n" +
			"no keys, windows or names, and nothing of it leaves this machine. It ends with the session.",
		Hidden: true,
		Args:   cobra.NoArgs,
	}
	state, log := program.StateFlag(cmd, "agent"), program.LogFlags(cmd)
	socket := cmd.Flags().String("socket", "", "where the agent listens (default: as the agent with that state folder does)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		logger, err := log()
		if err != nil {
			return err
		}
		if *socket == "" {
			*socket = local.DefaultPath(*state)
		}
		return session.Run(cmd.Context(), *socket, logger)
	}
	return cmd
}
