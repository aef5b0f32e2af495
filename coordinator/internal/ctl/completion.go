package ctl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

// completeTimeout bounds what a person waits for after Tab. Who is silent by then is not asked again.
const completeTimeout = 2 * time.Second

func newCompletionCommand() *cobra.Command {
	shells := []string{"bash", "zsh", "fish", "powershell"}
	return &cobra.Command{
		Use:   "completion SHELL",
		Short: "Print what makes your shell complete gridctl's words",
		Long: "completion prints a script for bash, zsh, fish or powershell, with which Tab completes verbs, flags, files,\n" +
			"contexts, and the names and IDs of your jobs. In bash it needs the package bash-completion.",
		Example: "  source <(gridctl completion bash)                                 # this shell\n" +
			"  gridctl completion bash >~/.local/share/bash-completion/completions/gridctl\n" +
			"  gridctl completion zsh >\"${fpath[1]}/_gridctl\"\n" +
			"  gridctl completion fish >~/.config/fish/completions/gridctl.fish\n" +
			"  gridctl completion powershell | Out-String | Invoke-Expression",
		Args:      exactly("SHELL"),
		ValidArgs: shells,
		RunE: func(cmd *cobra.Command, args []string) error {
			root, to := cmd.Root(), cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(to, true)
			case "zsh":
				return root.GenZshCompletion(to)
			case "fish":
				return root.GenFishCompletion(to, true)
			case "powershell":
				return root.GenPowerShellCompletionWithDesc(to)
			}
			return jobs.Errorf(jobs.Invalid, "no completion for %q: expected %s", clip(args[0]), either(shells))
		},
	}
}

// completeArguments gives every verb completion of the arguments that its Use names.
func (a *app) completeArguments(root *cobra.Command) {
	mustComplete(root.RegisterFlagCompletionFunc(contextFlag, a.completeContexts))
	for _, verb := range commands(root) {
		switch _, usage, _ := strings.Cut(verb.Use, " "); {
		case verb.ValidArgsFunction != nil || len(verb.ValidArgs) > 0:
		case strings.Contains(usage, "JOB"):
			verb.ValidArgsFunction = a.completeJobs
		case strings.Contains(usage, "job.yaml"):
			verb.ValidArgsFunction = completeJobFile
		case strings.Contains(usage, "NAME"):
			verb.ValidArgsFunction = a.completeContexts
		default:
			verb.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
}

// commands returns all commands below one.
func commands(c *cobra.Command) []*cobra.Command {
	var all []*cobra.Command
	for _, sub := range c.Commands() {
		all = append(append(all, sub), commands(sub)...)
	}
	return all
}

// mustComplete takes the error of registering a completion, which only a programmer can cause.
func mustComplete(err error) {
	if err != nil {
		panic(err)
	}
}

func completeJobFile(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

func completeVerbs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	parent, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var verbs []string
	for _, c := range parent.Commands() {
		if !c.Hidden {
			verbs = append(verbs, c.Name()+"\t"+c.Short)
		}
	}
	return verbs, cobra.ShellCompDirectiveNoFileComp
}

// completeContexts is of --context, where the verb may have arguments, and of verbs that take a context.
func (a *app) completeContexts(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	if a.settle(cmd, nil) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := a.contextWords()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) contextWords() ([]string, error) {
	l, err := a.openLogins()
	if err != nil {
		return nil, err
	}
	all, err := l.list()
	names := make([]string, 0, len(all))
	for _, v := range all {
		names = append(names, v.Name+"\t"+strings.Join(v.Coordinators, " "))
	}
	return names, err
}

// completeJobs offers the names of a person's jobs and their IDs. Whatever goes wrong, it offers none: this is
// no place for messages.
func (a *app) completeJobs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	several := strings.Contains(cmd.Use, "JOB...")
	if len(args) > 0 && !several || a.settle(cmd, nil) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	words, err := a.jobWords(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(words, func(w string) bool {
		name, _, _ := strings.Cut(w, "\t")
		return slices.Contains(args, name)
	}), cobra.ShellCompDirectiveNoFileComp
}

func (a *app) jobWords(ctx context.Context) (words []string, err error) {
	g, err := a.openGrid(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	if err := g.loadJobs(ctx); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, j := range slices.Backward(g.store.Jobs(false)) {
		m := j.Manifest
		about := fmt.Sprintf("%s, %s", minute(m.Created), count(m.Units, "unit"))
		if !seen[m.Name] {
			words = append(words, clean(m.Name)+"\t"+about)
		}
		seen[m.Name] = true
		words = append(words, j.ID.Short()+"\t"+clean(m.Name)+", "+about)
	}
	return words, nil
}
