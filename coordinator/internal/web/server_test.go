package web

import (
	"errors"
	"testing"
)

// TestSentence: whatever an error says, it is shown as a sentence.
func TestSentence(t *testing.T) {
	for text, want := range map[string]string{
		"":                   "It failed, and nothing says why.",
		"x":                  "X.",
		"no steward answers": "No steward answers.",
		"Already large":      "Already large.",
		"\u00fcber 5 MiB":    "\u00dcber 5 MiB.",
		"\u65e5\u672c":       "\u65e5\u672c.",
		"12 jobs":            "12 jobs.",
		"\xff broken":        "\ufffd broken.",
	} {
		if got := sentence(errors.New(text)); got != want {
			t.Errorf("%q: %q, expected %q", text, got, want)
		}
	}
}
