package ctl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

func TestExitCodesAndMessages(t *testing.T) {
	ctx, cancel := withTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	problems := manifest.Problems{{File: "job.yaml", Line: 3, Column: 7, Field: "units", Message: "is wrong", Hint: "write 1"}}
	tests := []struct {
		err     error
		code    int
		message string
	}{
		{nil, 0, ""},
		{errors.New("broken"), 1, "gridctl: broken\n"},
		{jobs.Errorf(jobs.Unavailable, "nobody is there"), 1, "gridctl: nobody is there\n"},
		{jobs.WithHint(jobs.Errorf(jobs.Invalid, "bad\x1bflag"), "use another"), 2, "gridctl: bad?flag\nhint: use another\n"},
		{problems, 2, "job.yaml:3:7: units: is wrong\nhint: write 1\ngridctl: job.yaml cannot be used: 1 problem\n"},
		{&incompleteError{jobs.WithHint(errors.New("2 failed"), "look")}, 3, "gridctl: 2 failed\nhint: look\n"},
		{fmt.Errorf("run: %w", context.Cause(ctx)), 124, "gridctl: run: ended by --timeout after 1ns\n"},
	}
	for _, test := range tests {
		var out bytes.Buffer
		a := &app{stderr: &out}
		a.report(test.err)
		if code := exitCode(test.err); code != test.code || out.String() != test.message {
			t.Errorf("%v: exit code %d and %q, expected %d and %q", test.err, code, out.String(), test.code, test.message)
		}
	}
}
