package program

import (
	"bytes"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestShowYAML: whatever a peer says, YAML has it as it is, and a terminal sees no control character.
func TestShowYAML(t *testing.T) {
	for _, text := range []string{"plain", "", "? a", "- a", "yes", "1e3", "a: b", "\x1b[31m red \u009b", "two\nlines", "ä", "#", "null"} {
		var out bytes.Buffer
		if err := Show(&out, FormatYAML, map[string]string{"why": text}, nil); err != nil {
			t.Fatal(err)
		}
		var got map[string]string
		if err := yaml.Unmarshal(out.Bytes(), &got); err != nil || got["why"] != text {
			t.Errorf("%q: %q reads as %q, %v", text, &out, got["why"], err)
		}
		if bytes.ContainsAny(out.Bytes(), "\x1b\u009b") {
			t.Errorf("%q: %q has control characters", text, &out)
		}
	}
}
