package program

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

// run calls a small program the way Main does and returns its exit code and what it said.
func run(t *testing.T, fails error, args ...string) (int, string) {
	t.Helper()
	root := &cobra.Command{Use: "gridtest"}
	work := &cobra.Command{Use: "work FILE", Args: cobra.ExactArgs(1), RunE: func(*cobra.Command, []string) error { return fails }}
	work.Flags().Int("cores", 1, "")
	root.AddCommand(work)
	prepare(root)
	root.SetArgs(args)
	root.SetOut(io.Discard)
	var said bytes.Buffer
	code := tell(&said, root.Name(), root.Execute())
	return code, said.String()
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails error
		args  string
		code  int
		says  string
	}{
		{"done", nil, "work x", 0, ""},
		{"help", nil, "", 0, ""},
		{"error", errors.New("disk on fire"), "work x", 1, "gridtest: disk on fire\n"},
		{"hint", jobs.WithHint(jobs.Errorf(jobs.Unavailable, "no answer"), "start it"), "work x", 1, "gridtest: no answer\nhint: start it\n"},
		{"wrong file", jobs.Errorf(jobs.Invalid, "line 3: no"), "work x", 2, "gridtest: line 3: no\n"},
		{"unknown command", nil, "wrok x", 2, "unknown command \"wrok\""},
		{"unknown flag", nil, "work --what x", 2, "unknown flag: --what"},
		{"flag of another type", nil, "work --cores many x", 2, "invalid argument"},
		{"argument missing", nil, "work", 2, "accepts 1 arg(s), received 0"},
		{"argument too many", nil, "work x y", 2, "accepts 1 arg(s), received 2"},
	} {
		code, said := run(t, c.fails, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%s: exit code %d and %q, expected %d and %q", c.name, code, said, c.code, c.says)
		}
		if code == 2 && c.fails == nil && !strings.Contains(said, "hint: gridtest") {
			t.Errorf("%s: %q has no hint", c.name, said)
		}
	}
}

func TestLogLevel(t *testing.T) {
	cmd := &cobra.Command{}
	log := LogFlags(cmd)
	if _, err := log(); err != nil {
		t.Error(err)
	}
	if err := cmd.Flags().Set("log-level", "loud"); err != nil {
		t.Fatal(err)
	}
	if _, err := log(); jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("level loud: %v", err)
	}
}
