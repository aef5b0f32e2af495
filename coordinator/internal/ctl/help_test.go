package ctl

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestEveryVerbExplainsItself walks over all commands: each says what it does in a line and at length, shows an
// example of itself, and stands in a group of the list of verbs.
func TestEveryVerbExplainsItself(t *testing.T) {
	root := newRoot(&app{})
	all := commands(root)
	if len(all) < 15 {
		t.Fatalf("%d commands: these are not all", len(all))
	}
	for _, c := range all {
		path := c.CommandPath()
		if c.Short == "" || c.Long == "" {
			t.Errorf("%s lacks a short or a long text", path)
		}
		if c.IsAdditionalHelpTopicCommand() {
			continue
		}
		if !strings.Contains(c.Example, path) && !strings.Contains(c.Example, "gridctl "+c.Name()) {
			t.Errorf("%s has no example of itself, but %q", path, c.Example)
		}
		if c.Parent() == root && c.GroupID == "" {
			t.Errorf("%s is in no group", path)
		}
		if c.ValidArgsFunction == nil && len(c.ValidArgs) == 0 {
			t.Errorf("%s completes no arguments", path)
		}
	}
}

// TestHelpFits holds that no line of any help is broken by a terminal of 80 columns.
func TestHelpFits(t *testing.T) {
	for _, c := range append(commands(newRoot(&app{})), newRoot(&app{})) {
		var out bytes.Buffer
		root := newRoot(&app{stdout: &out, stderr: &out})
		root.SetArgs(append(strings.Fields(c.CommandPath())[1:], "--help"))
		if err := root.Execute(); err != nil || out.Len() == 0 {
			t.Errorf("%s --help: %v, %d bytes", c.CommandPath(), err, out.Len())
		}
		for line := range strings.Lines(out.String()) {
			if len(line) > 81 {
				t.Errorf("%s: a line of %d characters: %s", c.CommandPath(), len(line)-1, line)
			}
		}
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"status", "submit", "results", "run"}
	for typed, want := range map[string][]string{
		"staus": {"status"}, "subm": {"submit"}, "frobnicate": {}, "r": {"results", "run"}, "RUN": {"run"},
	} {
		if got := suggest(typed, known); !slices.Equal(got, want) {
			t.Errorf("%s: suggests %q, expected %q", typed, got, want)
		}
	}
}
