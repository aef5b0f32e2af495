package session

import (
	"testing"
	"time"
)

func TestNews(t *testing.T) {
	now := time.Now()
	at := func(ago time.Duration) *time.Time { v := now.Add(-ago); return &v }
	yes, no := true, false
	for name, c := range map[string]struct {
		before, now state
		want        bool
	}{
		"nothing":               {state{}, state{}, false},
		"the first word":        {state{}, state{input: at(0)}, true},
		"no input":              {state{input: at(time.Hour)}, state{input: at(time.Hour)}, false},
		"a clock that trembles": {state{input: at(time.Hour)}, state{input: at(time.Hour - 2*time.Millisecond)}, false},
		"input":                 {state{input: at(time.Hour)}, state{input: at(0)}, true},
		"more of it":            {state{input: at(300 * time.Millisecond)}, state{input: at(0)}, false},
		"not known any more":    {state{input: at(0)}, state{}, true},
		"locked":                {state{locked: &no}, state{locked: &yes}, true},
		"still locked":          {state{locked: &yes}, state{locked: &yes}, false},
		"a presentation":        {state{}, state{presenting: &yes}, true},
	} {
		if got := news(c.before, c.now); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}
