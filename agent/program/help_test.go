package program

import "testing"

func TestWrap(t *testing.T) {
	const text = "one two\nthree four\n\n  indented, and far too long\nfive\nextraordinarily six"
	const want = "one two\nthree four\n\n  indented, and far too long\nfive\nextraordinarily\nsix"
	if got := wrap(text, 10); got != want {
		t.Errorf("got %q, expected %q", got, want)
	}
	if got := wrap("a b\nc", 80); got != "a b c" {
		t.Errorf("got %q: the lines of a paragraph flow", got)
	}
	if got := wrap("", 80); got != "" {
		t.Errorf("got %q of nothing", got)
	}
}
