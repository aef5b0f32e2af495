package ctl

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"pgregory.net/rapid"
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
	d := data{rows: [][]string{{"NAME", "UNITS", "MORE"}, {"a\tlong\x1bname", "1", "x"}}, narrow: 2, names: []string{"one\x1b", "two"}}
	for format, want := range map[string]string{
		formatTable: "NAME         UNITS\na?long?name  1\n",
		formatWide:  "NAME         UNITS  MORE\na?long?name  1      x\n",
		formatName:  "one?\ntwo\n",
	} {
		var out bytes.Buffer
		a := &app{stdout: &out, format: format}
		if err := a.show(d); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s: wrote %q, expected %q", format, out.String(), want)
		}
	}
}

// TestYAMLIsTheJSON reads back what -o yaml writes: strings that look like something else stay strings, and the
// fields are those of -o json, in their order.
func TestYAMLIsTheJSON(t *testing.T) {
	type thing struct {
		Name  string    `json:"name"`
		Count uint64    `json:"count"`
		CPU   float64   `json:"useful_cpu_seconds"`
		When  time.Time `json:"when"`
		None  *string   `json:"none"`
		Args  []string  `json:"args"`
	}
	rapid.Check(t, func(t *rapid.T) {
		special := rapid.SampledFrom([]string{"", "null", "yes", "1e5", "0x10", "12345678", "1234e567", "~", "- a", "a: b", "#", "2026-01-01", "'", "\""})
		text := rapid.OneOf(special, rapid.String(), rapid.StringMatching(`[0-9a-f]{8}`))
		want := thing{
			Name: text.Draw(t, "name"), Count: rapid.Uint64().Draw(t, "count"), CPU: rapid.Float64Range(0, 1e9).Draw(t, "cpu"),
			When: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "when"), 0).UTC(), Args: rapid.SliceOf(text).Draw(t, "args"),
		}
		var out bytes.Buffer
		a := &app{stdout: &out, format: formatYAML}
		if err := a.show(data{value: want}); err != nil {
			t.Fatal(err)
		}
		if clean(out.String()) != out.String() {
			t.Fatalf("%q has control characters", out.String())
		}
		var got thing
		if err := yaml.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v\n%s", err, out.String())
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %#v, expected %#v\n%s", got, want, out.String())
		}
	})
}

func TestEither(t *testing.T) {
	for want, names := range map[string][]string{"": nil, "a": {"a"}, "a or b": {"a", "b"}, "a, b or c": {"a", "b", "c"}} {
		if got := either(names); got != want {
			t.Errorf("%v: %q, expected %q", names, got, want)
		}
	}
}
