package worker

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

// TestStalled: what counts is CPU time, and a checkpoint; a little CPU time is what a blocked child takes.
func TestStalled(t *testing.T) {
	for name, test := range map[string]struct {
		cpu     time.Duration // every ten seconds
		saved   bool          // a minute before the end
		stalled bool
	}{
		"busy":                           {5 * time.Second, false, false},
		"slow":                           {20 * time.Millisecond, false, false},
		"blocked":                        {time.Millisecond, false, true},
		"stopped":                        {0, false, true},
		"blocked, but with a checkpoint": {0, true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := &run{watch: &watch{}, saver: &saver{}}
			if r.stalled(time.Now()) {
				t.Errorf("%s: stalled before anybody said how much CPU time it takes", name)
			}
			for i := range 30 {
				time.Sleep(10 * time.Second)
				r.watch.used(time.Duration(i) * test.cpu)
				if test.saved && i == 24 {
					r.saver.at = time.Now()
				}
			}
			if got := r.stalled(time.Now()); got != test.stalled {
				t.Errorf("%s: stalled %v", name, got)
			}
			r.watch.rest()
			if r.stalled(time.Now()) {
				t.Errorf("%s: stalled after a sleep", name)
			}
		})
	}
}

// TestCrashNamesInputs: who looks into a crash is told what the unit had, within what a failure may say.
func TestCrashNamesInputs(t *testing.T) {
	many := make([]executor.File, 10_000)
	for i := range many {
		many[i].Path = "data/ä.csv"
	}
	long := strings.Repeat("ä", jobs.MaxFailureText/2)
	for name, test := range map[string]struct {
		kind   jobs.FailureKind
		text   string
		inputs []executor.File
		want   string
	}{
		"two":            {jobs.FailureCrash, "killed", []executor.File{{Path: "a.csv"}, {Path: "b/c.txt"}}, "killed\nits inputs: a.csv, b/c.txt"},
		"none":           {jobs.FailureCrash, "killed", nil, "killed\nits inputs: none"},
		"another":        {jobs.FailureTrap, "unreachable", []executor.File{{Path: "a.csv"}}, "unreachable"},
		"many":           {jobs.FailureCrash, "killed", many, " … of 10000"},
		"a long story":   {jobs.FailureCrash, long, []executor.File{{Path: "a.csv"}}, "\nits inputs: a.csv"},
		"both too large": {jobs.FailureCrash, long, many, " … of 10000"},
	} {
		got := withInputs(jobs.Failure{Kind: test.kind, Text: test.text}, &executor.Program{Inputs: test.inputs})
		if got.Kind != test.kind || !strings.HasSuffix(got.Text, test.want) || len(got.Text) > jobs.MaxFailureText || strings.ToValidUTF8(got.Text, "") != got.Text {
			t.Errorf("%s: %d bytes, ending in %q", name, len(got.Text), got.Text[max(0, len(got.Text)-60):])
		}
	}
}
