package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"idlegrid/agent/program"
	"idlegrid/coordinator/internal/pace"
	"idlegrid/jobs"
)

func newWatchCommand(a *app) *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "watch [JOB...]",
		Short: "Watch jobs until they are done",
		Long: "watch shows how far jobs are, all of yours if none is named, until no unit of them is open: on a terminal as\n" +
			"a table that is drawn anew, else a line whenever something changed. So does -o json, and -o yaml with a\n" +
			"document each; -o name gives the ID of each job that is over. It ends with exit code 0 if every unit was\n" +
			"accepted, with 3 if not, and with 124 by --timeout. Ctrl-C ends the watching with exit code 0; the jobs\n" +
			"go on.",
		Example: "  gridctl watch tour\n  gridctl watch -o name | xargs -n1 gridctl results",
		RunE:    func(cmd *cobra.Command, args []string) error { return a.watch(cmd.Context(), args, timeout) },
	}
	addTimeout(cmd, &timeout)
	a.outputFlag(cmd)
	return cmd
}

func (a *app) watch(ctx context.Context, names []string, timeout time.Duration) (err error) {
	if err := checkTimeout(timeout); err != nil {
		return err
	}
	show, end := a.watcher()
	ctx, cancel := withTimeout(ctx, timeout)
	defer cancel()
	defer func() { err = because(ctx, err) }()
	g, err := a.openGrid(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.close()) }()
	list, err := g.findJobs(ctx, names)
	if err != nil {
		return err
	}
	f := newFollower(g, list)
	if len(names) == 0 {
		f.every, f.list = true, g.store.Jobs(false)
	}
	if len(f.list) == 0 {
		a.say("you have no live jobs")
		a.hint("gridctl submit job.yaml")
		return nil
	}
	all, err := f.until(ctx, show)
	if err := errors.Join(err, end()); err != nil {
		return a.unwatched(ctx, err)
	}
	return a.verdict(all)
}

// unwatched is how watch ends before its jobs: not badly if that was somebody's wish.
func (a *app) unwatched(ctx context.Context, err error) error {
	var timeout *timeoutError
	if ctx.Err() == nil || errors.As(err, &timeout) {
		return err
	}
	a.say("the jobs go on")
	return nil
}

// watcher returns how the state of jobs is shown, and what ends the showing.
func (a *app) watcher() (show func([]jobStatus) error, end func() error) {
	none := func() error { return nil }
	switch {
	case a.format == formatJSON:
		return changes(json.NewEncoder(a.stdout).Encode), none
	case a.format == formatYAML:
		return changes(func(v any) error {
			_, err := fmt.Fprintln(a.stdout, "---")
			return errors.Join(err, program.ShowYAML(a.stdout, v))
		}), none
	case a.format == formatName:
		return namesOfOver(a.stdout), none
	case isTerminal(a.stdout) && takesEscapes(a.stdout):
		s := newScreen(a.stdout)
		return s.show, s.end
	}
	w := a.stdout
	return changes(func(v any) error {
		_, err := fmt.Fprintln(w, v.(*jobStatus))
		return err
	}), none
}

// namesOfOver returns a function that writes the ID of each job once it is over.
func namesOfOver(w io.Writer) func([]jobStatus) error {
	written := map[jobs.JobID]bool{}
	return func(all []jobStatus) error {
		for _, s := range all {
			if !s.over() || written[s.id] {
				continue
			}
			written[s.id] = true
			if _, err := fmt.Fprintln(w, s.ID); err != nil {
				return err
			}
		}
		return nil
	}
}

// changes returns a function that hands on the states which are not what they were.
func changes(write func(any) error) func([]jobStatus) error {
	before := map[jobs.JobID]jobStatus{}
	return func(all []jobStatus) error {
		for _, s := range all {
			if old, ok := before[s.id]; ok && old.same(s) {
				continue
			}
			before[s.id] = s
			if err := write(&s); err != nil {
				return err
			}
		}
		return nil
	}
}

// same reports whether two states show the same.
func (s *jobStatus) same(o jobStatus) bool {
	o.agreed, o.perhaps, o.told, o.spent, o.lessees = s.agreed, s.perhaps, s.told, s.spent, s.lessees
	return *s == o
}

// String returns the state as a line.
func (s *jobStatus) String() string {
	text := fmt.Sprintf("%s %s %s: %s units accepted", s.id.Short(), clean(s.Name), s.State, s.doneText())
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Agents > 0 {
		text += ", " + count(s.Agents, "agent")
	}
	if s.kept() {
		text += ", results kept until " + day(s.Expires)
	}
	return text
}

// screen is a table on a terminal that is drawn anew in place.
type screen struct {
	w     io.Writer
	size  func() (width, height int)
	now   func() time.Time
	above func() []string // lines over the table; nil: none
	below func() []string // and under it, which are always seen
	drawn int             // lines
	wide  int             // that the terminal was then
	high  int
	paces map[jobs.JobID]*pace.Pace
}

func newScreen(w io.Writer) *screen {
	size := func() (int, int) {
		const usualWidth, usualHeight = 80, 24
		if f, ok := w.(*os.File); ok {
			if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
				return width, height
			}
		}
		return usualWidth, usualHeight
	}
	return &screen{w: w, size: size, now: time.Now, paces: map[jobs.JobID]*pace.Pace{}}
}

// What a terminal is told: these it has understood since the VT100.
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	upLines    = "\x1b[%dA"
	toTop      = "\x1b[H"
	eraseRest  = "\x1b[K" // of the line
	eraseBelow = "\x1b[J"
)

// show draws in one write, over what is there, so that nothing flickers. What a terminal of another size has made of what
// was there it erases.
func (s *screen) show(all []jobStatus) error {
	width, height := s.size()
	lines, below := s.lines(all, width-1), s.foot(width-1) // in the last column a terminal may go to the next line
	if most := max(height-1-len(below), 2); len(lines) > most {
		more := len(lines) - most + 1
		lines = append(lines[:most-1], cut(fmt.Sprintf("and %d more", more), width-1))
	}
	lines = append(lines, below...)
	var b strings.Builder
	b.WriteString(hideCursor)
	switch {
	case s.drawn > 0 && (width != s.wide || height != s.high):
		b.WriteString(toTop + eraseBelow)
	case s.drawn > 0:
		fmt.Fprintf(&b, upLines, min(s.drawn, height-1))
		b.WriteString("\r")
	}
	for _, line := range lines {
		b.WriteString(line + eraseRest + "\r\n")
	}
	b.WriteString(eraseBelow)
	s.drawn, s.wide, s.high = len(lines), width, height
	_, err := io.WriteString(s.w, b.String())
	return err
}

// foot returns the lines under the table, after an empty one.
func (s *screen) foot(width int) (lines []string) {
	if s.below == nil {
		return nil
	}
	for _, line := range append([]string{""}, s.below()...) {
		lines = append(lines, cut(line, width))
	}
	return lines
}

// lines are what is shown, at most so wide.
func (s *screen) lines(all []jobStatus, width int) []string {
	table := s.table(all, width)
	if s.above == nil {
		return table
	}
	var lines []string
	for _, line := range s.above() {
		lines = append(lines, cut(line, width))
	}
	return append(lines, table...)
}

// print writes the lines once, as wide as they are.
func (s *screen) print(all []jobStatus) error {
	_, err := fmt.Fprintln(s.w, strings.Join(s.lines(all, math.MaxInt), "\n"))
	return err
}

func (s *screen) end() error {
	_, err := io.WriteString(s.w, showCursor)
	return err
}

// The columns of the table on the screen.
const (
	columnName   = 1
	columnFailed = 4
	columnAgents = 5
	columnRate   = 6
	columnLeft   = 7
)

// table returns the lines of a table of at most so many columns of text: where it does not fit, what matters
// least is left out.
func (s *screen) table(all []jobStatus, width int) []string {
	rows := [][]string{{"ID", "NAME", "STATE", "DONE", "FAILED", "AGENTS", "UNITS/S", "LEFT", "KEPT UNTIL"}}
	now := s.now()
	for _, j := range all {
		rate, left := "", ""
		if r := s.pace(j, now).Rate(now, j.done()); r > 0 && j.State == stateRunning {
			rate = fmt.Sprintf("%.3g", r)
			left = pace.Left(j.Open, r)
		}
		rows = append(rows, []string{
			j.id.Short(), clean(j.Name), j.State, j.doneText(), fmt.Sprint(j.Failed), fmt.Sprint(j.Agents), rate, left, j.keptText(),
		})
	}
	return fit(rows, width)
}

// pace notes how far a job is, and returns how fast it gets done.
func (s *screen) pace(j jobStatus, now time.Time) *pace.Pace {
	p := s.paces[j.id]
	if p == nil {
		p = &pace.Pace{}
		s.paces[j.id] = p
	}
	if j.State != stateUnknown {
		p.Add(now, j.done())
	}
	return p
}

// fit aligns a table and makes it as narrow as it must be.
func fit(rows [][]string, width int) []string {
	drop := []int{columnRate, columnAgents, columnFailed, columnLeft}
	shown := indexes(len(rows[0]))
	for len(drop) > 0 && tableWidth(rows, shown) > width {
		shown = slices.DeleteFunc(shown, func(c int) bool { return c == drop[0] })
		drop = drop[1:]
	}
	const leastName = 8
	if over := tableWidth(rows, shown) - width; over > 0 {
		most := max(leastName, columnWidth(rows, columnName)-over)
		for _, row := range rows {
			row[columnName] = cut(row[columnName], most)
		}
	}
	lines := make([]string, len(rows))
	for i, row := range rows {
		var b strings.Builder
		for _, c := range shown {
			fmt.Fprintf(&b, "%-*s  ", columnWidth(rows, c), row[c])
		}
		lines[i] = cut(strings.TrimRight(b.String(), " "), width)
	}
	return lines
}

func columnWidth(rows [][]string, c int) (width int) {
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row[c]))
	}
	return width
}

func tableWidth(rows [][]string, shown []int) (width int) {
	for _, c := range shown {
		width += columnWidth(rows, c) + 2
	}
	return width - 2
}

// cut shortens a line to at most so many runes.
func cut(s string, width int) string {
	if runes := []rune(s); len(runes) > width {
		return string(runes[:max(width-1, 0)]) + "…"
	}
	return s
}
