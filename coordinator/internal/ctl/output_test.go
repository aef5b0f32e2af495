package ctl

import (
	"bytes"
	"strings"
	"testing"
)

func TestCleanAndBrief(t *testing.T) {
	tests := []struct{ text, clean, brief string }{
		{"plain", "plain", "plain"},
		{"a\x1b[2Jb\r\x00", "a?[2Jb??", "a?[2Jb??"},
		{"a\tb\xff", "a?b?", "a?b?"},
		{"one\ntwo\n", "one\ntwo\n", "one …"},
		{" one \n", " one \n", "one"},
		{strings.Repeat("ä", 300), strings.Repeat("ä", 300), strings.Repeat("ä", 200) + "…"},
		{"", "", ""},
	}
	for _, test := range tests {
		if got := clean(test.text); got != test.clean {
			t.Errorf("clean(%q) is %q, expected %q", test.text, got, test.clean)
		}
		if got := brief(test.text); got != test.brief {
			t.Errorf("brief(%q) is %q, expected %q", test.text, got, test.brief)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 bytes", 1023: "1023 bytes", 1024: "1 KiB", 1536: "1.5 KiB", 4 << 30: "4 GiB", 1 << 60: "1048576 TiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: %q, expected %q", n, got, want)
		}
	}
}

func TestTablesAreAlignedAndHarmless(t *testing.T) {
	var out bytes.Buffer
	a := &app{stdout: &out, format: formatTable}
	if err := a.show(nil, [][]string{{"NAME", "UNITS"}, {"a\tlong\x1bname", "1"}}); err != nil {
		t.Fatal(err)
	}
	if want := "NAME         UNITS\na?long?name  1\n"; out.String() != want {
		t.Errorf("wrote %q, expected %q", out.String(), want)
	}
}
