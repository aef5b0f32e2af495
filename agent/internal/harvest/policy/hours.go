package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"idlegrid/jobs/yamlfile"
)

// day is the length of a day in minutes. A day on which the clocks change counts by what they show.
const day = 24 * 60

// Hours are the times of the week at which work may run, by the PC's own clock.
type Hours struct {
	Days [7][]Span // by time.Weekday, ascending
	set  [7]bool   // a day that is not set is free all day
}

// Span is a part of a day, in minutes from midnight.
type Span struct{ From, To int }

// Open reports whether work may run at a time.
func (h Hours) Open(at time.Time) bool {
	weekday := at.Weekday()
	minute := at.Hour()*60 + at.Minute()
	if !h.set[weekday] {
		return true
	}
	return slices.ContainsFunc(h.Days[weekday], func(s Span) bool { return s.From <= minute && minute < s.To })
}

// Next returns when work may run next, or at if it may now; zero: never.
func (h Hours) Next(at time.Time) time.Time {
	if h.Open(at) {
		return at
	}
	midnight := time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, at.Location())
	for days := range 8 {
		start := midnight.AddDate(0, 0, days)
		if days > 0 && h.Open(start) {
			return start
		}
		for _, s := range h.Days[start.Weekday()] {
			from := time.Date(start.Year(), start.Month(), start.Day(), s.From/60, s.From%60, 0, 0, at.Location())
			if from.After(at) && h.Open(from) {
				return from
			}
		}
	}
	return time.Time{}
}

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// String writes hours as a policy file has them.
func (h Hours) String() string {
	var parts []string
	for i, name := range dayNames {
		if !h.set[i] {
			continue
		}
		var spans []string
		for _, s := range h.Days[i] {
			spans = append(spans, fmt.Sprintf("%02d:%02d-%02d:%02d", s.From/60, s.From%60, s.To/60, s.To%60))
		}
		text := strings.Join(spans, " and ")
		if text == "" {
			text = none
		}
		parts = append(parts, name+": "+text)
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// readHours reads a map from days, such as mon or mon-fri, to spans.
func readHours(r *yamlfile.Reader, f yamlfile.Field) (h Hours, ok bool) {
	entries, ok := r.Entries(f)
	if !ok {
		return h, false
	}
	for _, e := range entries {
		days, known := daysOf(e.Key)
		if !known {
			p := yamlfile.At(e.KeyNode, "is no day")
			p.Field, p.Hint = e.Name, "write mon, tue, wed, thu, fri, sat, sun, or two of them such as mon-fri"
			r.Add(p)
			ok = false
			continue
		}
		spans, good := readSpans(r, e.Field)
		ok = ok && good
		for _, d := range days {
			if h.set[d] {
				r.Wrong(e.Field, "gives hours for "+dayNames[d]+", which has some already", "name each day once")
				ok = false
			}
			h.Days[d], h.set[d] = spans, true
		}
	}
	return h, ok
}

// daysOf returns the days that a key names, as time.Weekdays.
func daysOf(key string) (days []int, ok bool) {
	first, last, isRange := strings.Cut(key, "-")
	from, to := slices.Index(dayNames, first), slices.Index(dayNames, last)
	if !isRange {
		to = from
	}
	if from < 0 || to < 0 {
		return nil, false
	}
	for d := from; ; d = (d + 1) % 7 {
		days = append(days, d)
		if d == to {
			return days, true
		}
	}
}

// none and all are the words for a day without hours and for a whole one.
const (
	none = "none"
	all  = "all"
)

// readSpans reads spans with "and" between them.
func readSpans(r *yamlfile.Reader, f yamlfile.Field) (spans []Span, ok bool) {
	text, ok := r.Text(f)
	switch {
	case !ok || text == none:
		return nil, ok
	case text == all:
		return []Span{{To: day}}, true
	}
	for part := range strings.SplitSeq(text, " and ") {
		s, ok := spanOf(part)
		if !ok {
			r.Wrong(f, "is "+yamlfile.Describe(f.Node)+", expected spans within a day such as 00:00-07:30 and 18:00-24:00, all or none",
				"for a span over midnight write the evening, and the morning at the next day")
			return nil, false
		}
		spans = append(spans, s)
	}
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	return spans, true
}

func spanOf(text string) (Span, bool) {
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return Span{}, false
	}
	a, okA := minuteOf(strings.TrimSpace(from))
	b, okB := minuteOf(strings.TrimSpace(to))
	return Span{From: a, To: b}, okA && okB && a < b
}

// minuteOf reads HH:MM, to 24:00.
func minuteOf(text string) (int, bool) {
	h, m, ok := strings.Cut(text, ":")
	hour, errH := strconv.ParseUint(h, 10, 8)
	minute, errM := strconv.ParseUint(m, 10, 8)
	at := int(hour*60 + minute)
	return at, ok && errH == nil && errM == nil && len(m) == 2 && minute < 60 && at <= day
}
