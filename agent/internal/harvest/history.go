package harvest

import (
	"slices"
	"time"
)

const (
	// historyAge is how far back decisions are remembered.
	historyAge = 24 * time.Hour
	// maxHistory bounds them: one a minute, which a PC that is used all day does not reach.
	maxHistory = 1440
)

// Entry is what was decided from a time on.
type Entry struct {
	From   time.Time
	Mode   Mode
	Cores  int
	Reason string
}

// history is the last day's decisions, the oldest first, equal ones in a row as one.
type history []Entry

func (h history) add(d Decision, now time.Time) history {
	e := Entry{From: now, Mode: d.Mode(), Cores: d.Cores, Reason: d.Reason}
	if n := len(h); n > 0 && h[n-1].Mode == e.Mode && h[n-1].Cores == e.Cores && h[n-1].Reason == e.Reason {
		return h
	}
	// The entry that was true a day ago stays: it tells what the day began with.
	old := 0
	for old+1 < len(h) && now.Sub(h[old+1].From) > historyAge {
		old++
	}
	old = max(old, len(h)+1-maxHistory)
	return append(slices.Clone(h[old:]), e)
}
