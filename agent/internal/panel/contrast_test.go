package panel

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// luminance is WCAG's relative luminance of a colour, such as "#fff" or "#1b1f24".
func luminance(t *testing.T, colour string) float64 {
	t.Helper()
	hex := strings.TrimPrefix(colour, "#")
	if len(hex) == 3 {
		hex = fmt.Sprintf("%c%[1]c%c%[2]c%c%[3]c", hex[0], hex[1], hex[2])
	}
	n, err := strconv.ParseUint(hex, 16, 24)
	if err != nil || len(hex) != 6 {
		t.Fatalf("%q is no colour", colour)
	}
	linear := func(c uint64) float64 {
		v := float64(c&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*linear(n>>16) + 0.7152*linear(n>>8) + 0.0722*linear(n)
}

// TestContrast: text has at least 4.5 : 1 to what is behind it in both themes, and what is drawn 3 : 1.
func TestContrast(t *testing.T) {
	css, err := os.ReadFile("style.css")
	if err != nil {
		t.Fatal(err)
	}
	themes := regexp.MustCompile(`:root \{([^}]*)\}`).FindAllSubmatch(css, -1)
	if len(themes) != 2 {
		t.Fatalf("%d themes, expected a light and a dark one", len(themes))
	}
	for i, theme := range themes {
		colours := map[string]string{}
		for _, v := range regexp.MustCompile(`--(\w+): (#\w+);`).FindAllSubmatch(theme[1], -1) {
			colours[string(v[1])] = string(v[2])
		}
		for _, c := range []struct {
			front, back string
			least       float64
		}{
			{"text", "back", 4.5},
			{"text", "card", 4.5},
			{"soft", "back", 4.5},
			{"bad", "back", 4.5},
			{"link", "back", 4.5},
			{"press", "back", 4.5},
			{"press", "card", 4.5},
			{"bad", "card", 4.5},
			{"ours", "back", 4.5}, // the word Working; the other way round on Resume
			{"ours", "idle", 3},
			{"theirs", "idle", 3},
		} {
			a, b := luminance(t, colours[c.front]), luminance(t, colours[c.back])
			if got := (max(a, b) + 0.05) / (min(a, b) + 0.05); got < c.least {
				t.Errorf("theme %d: %s on %s has %.2f : 1, expected %g", i, c.front, c.back, got, c.least)
			}
		}
	}
}
