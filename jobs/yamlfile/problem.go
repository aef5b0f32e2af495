package yamlfile

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"idlegrid/jobs"
)

// maxProblems bounds what is reported at once; nobody reads more.
const maxProblems = 50

// Problem is one thing that is wrong with a file.
type Problem struct {
	File    string // as the caller named it
	Line    int    // from 1; 0: the file as a whole
	Column  int    // from 1, in characters
	Field   string // such as units.count or args[2]; may be empty
	Message string // what was wrong and what was expected
	Hint    string // what to do about it, one sentence; may be empty
}

// Error returns file:line:col: field: message, on one line and without the hint.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": " + p.Message)
	return b.String()
}

// Clip shortens a text from a file or a peer so that a message stays one readable line.
func Clip(s string) string { return clipTo(s, 60) }

func clipTo(s string, runes int) string {
	visible := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return utf8.RuneError
		}
		return r
	}, s)
	if utf8.RuneCountInString(visible) <= runes {
		return visible
	}
	return string([]rune(visible)[:runes]) + "…"
}

// Problems are all that is wrong with a file, in the order of the file. As an error it is of kind
// jobs.Invalid.
type Problems []Problem

// Error returns one line a problem, each followed by its hint on a line of its own.
func (p Problems) Error() string {
	var lines []string
	for _, one := range p {
		lines = append(lines, one.Error())
		if one.Hint != "" {
			lines = append(lines, "  hint: "+one.Hint)
		}
	}
	return strings.Join(lines, "\n")
}

// As makes jobs.KindOf see the kind.
func (p Problems) As(target any) bool {
	e, ok := target.(**jobs.Error)
	if ok {
		*e = &jobs.Error{Kind: jobs.Invalid, Err: errors.New(p.Error())}
	}
	return ok
}

// Sorted returns the problems in the order of the file, and says so when there are too many to list.
func (p Problems) Sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	if len(p) <= maxProblems {
		return p
	}
	more := Problem{File: p[0].File, Message: fmt.Sprintf("and %d more problems", len(p)-maxProblems)}
	return append(p[:maxProblems:maxProblems], more)
}
