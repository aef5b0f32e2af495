package ctl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// order is a way to sort jobs. Jobs that are equal in it are sorted by activity.
type order struct {
	name    string
	compare func(x, y jobStatus) int
}

// orders are those that the key s goes through.
var orders = []order{
	{"the busiest first", func(x, y jobStatus) int { return 0 }},
	{"the newest first", func(x, y jobStatus) int { return y.Created.Compare(x.Created) }},
	{"most failures first", func(x, y jobStatus) int { return cmp.Compare(y.Failed+y.Conflict, x.Failed+x.Conflict) }},
	{"by name", func(x, y jobStatus) int { return strings.Compare(x.Name, y.Name) }},
}

// topView is what a person has chosen to see by keys. Its zero value is all jobs, the busiest first.
type topView struct {
	order  int
	filter string
	typing bool // keys are the filter's text
	quit   bool
}

// The keys that have no letter.
const (
	interrupt = 0x03 // what Ctrl-C is where keys come as they are
	backspace = 0x08 // of some terminals
	enter     = '\r'
	newline   = '\n'
	escape    = 0x1b
	deletes   = 0x7f // the backspace of most terminals
)

// maxFilter bounds the filter's text, in bytes.
const maxFilter = 64

// keys takes what a terminal sent at once: keys, and sequences for those without a character, which say nothing here.
func (v *topView) keys(text string) {
	for text != "" && !v.quit {
		if n := sequence(text); n > 0 {
			text = text[n:]
			continue
		}
		r, n := utf8.DecodeRuneInString(text)
		v.key(r)
		text = text[n:]
	}
}

// sequence returns the length of the sequence that a text begins with, such as that of an arrow; 0: it is a key.
func sequence(text string) int {
	if len(text) < 2 || text[0] != escape || text[1] != '[' && text[1] != 'O' {
		return 0
	}
	end := strings.IndexFunc(text[2:], func(r rune) bool { return r >= 0x40 && r <= 0x7e })
	if end < 0 {
		return len(text)
	}
	return 2 + end + 1
}

func (v *topView) key(r rune) {
	switch {
	case r == interrupt:
		v.quit = true
	case r == escape:
		v.filter, v.typing = "", false
	case v.typing:
		v.write(r)
	case r == 'q':
		v.quit = true
	case r == 's':
		v.order = (v.order + 1) % len(orders)
	case r == '/':
		v.typing = true
	}
}

// write takes a key of the filter's text.
func (v *topView) write(r rune) {
	switch {
	case r == enter || r == newline:
		v.typing = false
	case r == backspace || r == deletes:
		_, n := utf8.DecodeLastRuneInString(v.filter)
		v.filter = v.filter[:len(v.filter)-n]
	case r != utf8.RuneError && unicode.IsPrint(r) && len(v.filter) < maxFilter:
		v.filter += string(r)
	}
}

// of returns those of some jobs that are to be seen, in their order.
func (v *topView) of(all []jobStatus) []jobStatus {
	text := strings.ToLower(v.filter)
	has := func(s string) bool { return strings.Contains(strings.ToLower(s), text) }
	seen := slices.DeleteFunc(slices.Clone(all), func(s jobStatus) bool { return !has(s.Name) && !has(s.ID) && !has(s.State) })
	byActivity(seen)
	slices.SortStableFunc(seen, orders[v.order].compare)
	return seen
}

// foot says what is seen, and by which keys something else is.
func (v *topView) foot() string {
	switch {
	case v.typing:
		return fmt.Sprintf("/%s_   Enter: see these, Esc: all", v.filter)
	case v.filter != "":
		return fmt.Sprintf("%s, with %q   s: sort, /: filter, Esc: all, q: end", orders[v.order].name, v.filter)
	}
	return orders[v.order].name + "   s: sort, /: filter, q: end"
}
