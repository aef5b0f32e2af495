package ctl

import (
	"github.com/spf13/cobra"

	"idlegrid/agent/program"
)

func newVersionCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show what this gridctl was made of",
		Long: "version shows gridctl's version and commit, the version of the protocol that it speaks, and what runs units\n" +
			"here. It asks nobody.",
		Example: "  gridctl version\n  gridctl version -o json",
		Args:    nothing,
		RunE: func(*cobra.Command, []string) error {
			v := program.VersionOf("gridctl")
			return a.show(data{value: v, rows: v.Rows(), names: []string{v.Version}})
		},
	}
	a.outputFlag(cmd)
	return cmd
}
