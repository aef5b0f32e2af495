package program

import (
	"bytes"
	"encoding/json"
	"errors"
	"runtime"
	"testing"

	"github.com/spf13/cobra"

	"idlegrid/jobs"
)

func TestTell(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{errors.New("no disk"), 1, "prog: no disk\n"},
		{jobs.Errorf(jobs.Invalid, "a wrong file"), 2, "prog: a wrong file\n"},
		{jobs.WithHint(jobs.Errorf(jobs.Unavailable, "nobody there"), "start it"), 1, "prog: nobody there\nhint: start it\n"},
	} {
		var out bytes.Buffer
		if code := tell(&out, "prog", test.err); code != test.code || out.String() != test.text {
			t.Errorf("%v: exit code %d, %q", test.err, code, out.String())
		}
	}
}

// TestUsage holds that wrong usage is exit code 2, and that only that is.
func TestUsage(t *testing.T) {
	for _, test := range []struct {
		args []string
		code int
	}{
		{[]string{"run"}, 0},
		{[]string{"run", "--log-level", "debug"}, 0},
		{[]string{"run", "--log-level", "loud"}, 2},
		{[]string{"run", "--log-format", "json"}, 0},
		{[]string{"run", "--log-format", "xml"}, 2},
		{[]string{"run", "--colour"}, 2},
		{[]string{"run", "more"}, 2},
		{[]string{"rum"}, 2},
		{[]string{"version"}, 0},
		{[]string{"version", "-o", "json"}, 0},
		{[]string{"version", "-o", "xml"}, 2},
		{[]string{"fail"}, 1},
	} {
		root := command()
		prepare(root)
		root.SetArgs(test.args)
		if code := tell(new(bytes.Buffer), root.Name(), root.Execute()); code != test.code {
			t.Errorf("%q: exit code %d, expected %d", test.args, code, test.code)
		}
	}
}

// TestLogFormat: a line of JSON an event where that is asked for, whatever is in it.
func TestLogFormat(t *testing.T) {
	cmd := &cobra.Command{Use: "run"}
	log := LogFlags(cmd)
	var out bytes.Buffer
	cmd.SetErr(&out)
	if err := cmd.ParseFlags([]string{"--log-format", "json", "--log-level", "warn"}); err != nil {
		t.Fatal(err)
	}
	l, err := log()
	if err != nil {
		t.Fatal(err)
	}
	l.Info("too quiet")
	l.Warn("one\nevent", "err", errors.New("no \"disk\""))
	var event struct{ Level, Msg, Err string }
	if err := json.Unmarshal(out.Bytes(), &event); err != nil {
		t.Fatalf("%v in %q", err, &out)
	}
	if event.Level != "WARN" || event.Msg != "one\nevent" || event.Err != `no "disk"` || bytes.Count(out.Bytes(), []byte("\n")) != 1 {
		t.Errorf("%+v of %q", event, &out)
	}
}

func command() *cobra.Command {
	root := &cobra.Command{Use: "prog"}
	work := &cobra.Command{Use: "run", Args: cobra.NoArgs}
	log := LogFlags(work)
	work.RunE = func(*cobra.Command, []string) error {
		_, err := log()
		return err
	}
	root.AddCommand(work, &cobra.Command{Use: "fail", RunE: func(*cobra.Command, []string) error { return errors.New("no") }})
	root.SetOut(new(bytes.Buffer))
	return root
}

func TestMakeState(t *testing.T) {
	path := t.TempDir() + "/a/b"
	for range 2 {
		dir, err := MakeState(path)
		if err != nil {
			t.Fatal(err)
		}
		info, err := dir.Stat(".")
		if err := errors.Join(err, dir.Close()); err != nil {
			t.Fatal(err)
		}
		if runtime.GOOS != "windows" && info.Mode().Perm() != 0o700 {
			t.Errorf("mode %s: others may look in", info.Mode())
		}
	}
	if _, err := MakeState("/dev/null/state"); jobs.HintOf(err) == "" {
		t.Errorf("a folder that cannot be made: %v", err)
	}
}
