package ctl

import (
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
		for line := range strings.Lines(c.Long) {
			if len(line) > 115 {
				t.Errorf("%s: a line of %d characters: %s", path, len(line), line)
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
