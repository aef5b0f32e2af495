package ctl

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"idlegrid/jobs"
)

// group is a part of the list of verbs.
type group struct {
	title string
	verbs []*cobra.Command
}

func addGroups(root *cobra.Command, groups []group) {
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.title, Title: g.title + ":"})
		for _, verb := range g.verbs {
			verb.GroupID = g.title
		}
		root.AddCommand(g.verbs...)
	}
}

func newHelpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [VERB]",
		Short:   "Explain a verb",
		Long:    "help explains a verb or topic, as --help does.",
		Example: "  gridctl help submit\n  gridctl help environment",
		RunE: func(cmd *cobra.Command, args []string) error {
			target, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return knownVerb(target, rest)
			}
			target.InitDefaultHelpFlag()
			return target.Help()
		},
		ValidArgsFunction: completeVerbs,
	}
}

// knownVerb refuses a first argument of a command of commands that is none of them.
func knownVerb(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := jobs.Errorf(jobs.Invalid, "unknown command %q", clip(args[0]))
	var verbs []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			verbs = append(verbs, c.Name())
		}
	}
	if near := suggest(args[0], verbs); len(near) > 0 {
		return jobs.WithHint(err, "did you mean %s?", either(near))
	}
	return jobs.WithHint(err, "%s --help lists the commands", cmd.CommandPath())
}

// flagError is what a wrong flag becomes. After an unknown verb no flag is known, and the verb is to blame.
func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); !cmd.HasParent() && len(args) > 0 {
		return knownVerb(cmd, args)
	}
	wrong := jobs.Errorf(jobs.Invalid, "%w", err)
	if name, ok := strings.CutPrefix(err.Error(), "unknown flag: --"); ok {
		if near := suggest(name, flagNames(cmd)); len(near) > 0 {
			return jobs.WithHint(wrong, "did you mean --%s?", strings.Join(near, " or --"))
		}
	}
	return jobs.WithHint(wrong, "%s --help lists the flags", cmd.CommandPath())
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
	return names
}

// suggest returns what of the known names somebody may have meant, at most three: cobra's own idea of what is
// near, which it has for commands.
func suggest(typed string, known []string) []string {
	const most = 3
	names := &cobra.Command{SuggestionsMinimumDistance: 2}
	for _, name := range known {
		names.AddCommand(&cobra.Command{Use: name, Run: func(*cobra.Command, []string) {}})
	}
	near := names.SuggestionsFor(typed)
	return near[:min(len(near), most)]
}
