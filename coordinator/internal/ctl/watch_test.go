package ctl

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"idlegrid/coordinator/internal/pace"
	"idlegrid/jobs"
)

func watched(n int) []jobStatus {
	all := make([]jobStatus, n)
	for i := range all {
		all[i] = jobStatus{
			id: jobs.JobID{byte(i + 1)}, Name: "a-job-with-a-rather-long-name", State: stateRunning,
			Units: 200, Open: 50, Accepted: 148, Failed: 2, Agents: 3, Expires: time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC),
		}
	}
	return all
}

// TestWatchFitsTheTerminal: on a narrow terminal what matters least is left out, and no line is too long.
func TestWatchFitsTheTerminal(t *testing.T) {
	const all = "ID NAME STATE DONE FAILED AGENTS UNITS/S LEFT KEPT UNTIL"
	for width, want := range map[int]string{
		200: all,
		100: "ID NAME STATE DONE FAILED AGENTS LEFT KEPT UNTIL",
		79:  "ID NAME STATE DONE LEFT KEPT UNTIL",
		58:  "ID NAME STATE DONE KEPT UNTIL",
		20:  "ID NAME",
	} {
		s := newScreen(&bytes.Buffer{})
		lines := s.table(watched(2), width)
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > width {
				t.Errorf("%d columns: a line of %d: %q", width, n, line)
			}
		}
		if got := strings.Join(strings.Fields(lines[0]), " "); !strings.HasPrefix(got, want) {
			t.Errorf("%d columns: %q, expected %q", width, got, want)
		}
	}
}

// TestWatchDrawsInPlace: each frame is one write that goes up over the one before, and has no more lines than the
// terminal.
func TestWatchDrawsInPlace(t *testing.T) {
	var out bytes.Buffer
	now := time.Unix(0, 0)
	width := 120
	s := &screen{
		w: &out, now: func() time.Time { return now }, paces: map[jobs.JobID]*pace.Pace{},
		size: func() (int, int) { return width, 10 },
	}
	frame := func(all []jobStatus) string {
		t.Helper()
		out.Reset()
		if err := s.show(all); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	all := watched(2)
	if first := frame(all); strings.Contains(first, "A\r") || strings.Count(first, "\r\n") != 3 {
		t.Errorf("the first frame: %q", first)
	}
	now = now.Add(10 * time.Second)
	all[0].Accepted, all[0].Open = 168, 30
	second := frame(all)
	for _, want := range []string{hideCursor + "\x1b[3A\r", " 2  ", "15s", "168/200", eraseBelow} {
		if !strings.Contains(second, want) {
			t.Errorf("%q is not in the second frame: %q", want, second)
		}
	}
	if many := frame(watched(20)); strings.Count(many, "\r\n") != 9 || !strings.Contains(many, "and 13 more") {
		t.Errorf("more than the terminal has: %q", many)
	}
	s.below = func() []string { return []string{"what keys do"} }
	if many := frame(watched(20)); strings.Count(many, "\r\n") != 9 || !strings.Contains(many, "and 15 more\x1b[K\r\n\x1b[K\r\nwhat keys do") {
		t.Errorf("with a foot: %q", many)
	}
	width = 80
	if other := frame(all); !strings.HasPrefix(other, hideCursor+toTop+eraseBelow+"ID") {
		t.Errorf("the terminal has another size: %q", other)
	}
	if again := frame(all); !strings.HasPrefix(again, hideCursor+"\x1b[5A\r") {
		t.Errorf("and keeps it: %q", again)
	}
	out.Reset()
	if err := s.end(); err != nil || out.String() != showCursor {
		t.Errorf("the end: %q, %v", out.String(), err)
	}
}

// TestChangesAreSaidOnce: a state that shows what it showed before is not said again.
func TestChangesAreSaidOnce(t *testing.T) {
	var said []string
	show := changes(func(v any) error {
		said = append(said, v.(*jobStatus).State)
		return nil
	})
	all := watched(1)
	for _, state := range []string{stateRunning, stateRunning, stateDone, stateDone} {
		all[0].State, all[0].agreed = state, !all[0].agreed
		if err := show(all); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{stateRunning, stateDone}; !slices.Equal(said, want) {
		t.Errorf("said %q, expected %q", said, want)
	}
}
