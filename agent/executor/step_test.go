package executor_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

// TestSteps runs modules that export grid_step to their end.
func TestSteps(t *testing.T) {
	p := newPool(t, 1)
	reactor := builtGuest(t, "reactor")
	step := func(body []byte, more ...function) *executor.Program {
		m := module{pages: 1, export: "grid_step", kind: typeGiveI32, body: body, more: more, imports: [][2]string{procExit}}
		return program(t, m.bytes())
	}
	trap := function{"_start", typeNothing, bodyTrap}
	tests := []struct {
		name    string
		program *executor.Program
		args    []string
		kind    jobs.FailureKind
		text    string
		stdout  string
	}{
		{name: "Go", program: reactor, args: []string{"3", "1"}, stdout: "initialised\nstep 1\nstep 2\nstep 3\n"},
		{name: "a bad result", program: reactor, args: []string{"2", "-7"}, kind: jobs.FailureExit, text: "grid_step returned -7, expected 0 (more) or 1 (done)", stdout: "initialised\nstep 1\nstep 2\n"},
		{name: "a panic before the first step", program: reactor, args: []string{"1"}, kind: jobs.FailureTrap, text: "goPanicIndex"},
		{name: "no initialisation", program: step(bodyDone)},
		{name: "grid_step wins", program: step(bodyDone, trap)},
		{name: "a trap in a step", program: step(bodyTrap), kind: jobs.FailureTrap, text: "unreachable"},
		{name: "a trap before", program: step(bodyDone, function{"_initialize", typeNothing, bodyTrap}), kind: jobs.FailureTrap, text: "unreachable"},
		{name: "an exit in a step", program: step(slices.Concat(bodyExit5, bodyDone)), kind: jobs.FailureExit, text: "exit code 5"},
		{name: "an exit before", program: step(bodyTrap, function{"_initialize", typeNothing, bodyExit5}), kind: jobs.FailureExit, text: "exit code 5"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := mustRun(t, p, tt.program, unit(tt.args...))
			if r.Failure.Kind != tt.kind || !strings.Contains(r.Failure.Text, tt.text) || string(r.Outcome.Stdout) != tt.stdout {
				t.Errorf("failure %q, stdout %q; expected kind %v with %q, and %q", r.Failure, r.Outcome.Stdout, tt.kind, tt.text, tt.stdout)
			}
		})
	}
}

// TestProgress checks what of a guest's progress comes through, and that a flood of it does not.
func TestProgress(t *testing.T) {
	p := newPool(t, 1)
	tell := func(fraction float64) *executor.Program {
		body := binary.LittleEndian.AppendUint64([]byte{opF64Const}, math.Float64bits(fraction))
		m := module{pages: 1, imports2: []function{{"grid.progress", typeTakeF64, nil}}, body: append(body, opCall, 0)}
		return program(t, m.bytes())
	}
	tests := map[float64][]float64{0: {0}, 0.25: {0.25}, -1: {0}, 7: {1}, math.Inf(1): {1}, math.NaN(): nil}
	for fraction, want := range tests {
		var got []float64
		u := unit()
		u.Progress = func(fraction float64) { got = append(got, fraction) }
		succeed(t, p, tell(fraction), u)
		if !slices.Equal(got, want) {
			t.Errorf("progress of %v came as %v, expected %v", fraction, got, want)
		}
	}
	calls := 0
	u := unit(fmt.Sprint(10_000), "1")
	u.Progress = func(float64) { calls++ }
	if r := mustRun(t, p, builtGuest(t, "reactor"), u); r.Failure.Failed() || calls < 1 || calls > 1+int(r.Times.Wall/(100*time.Millisecond)) {
		t.Errorf("%v: told %d times in %v", r.Failure, calls, r.Times.Wall)
	}
	u.Progress = nil
	succeed(t, p, builtGuest(t, "reactor"), u)
}
