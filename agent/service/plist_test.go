package service

import (
	"encoding/xml"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

// TestPlist reads a property list back.
func TestPlist(t *testing.T) {
	s := Agent("/usr/local/bin/gridagent", "/Library/Application Support/idlegrid/agent", []string{"--join", `<&">:1`})
	text, err := s.plist()
	if err != nil {
		t.Fatal(err)
	}
	got := flatten(t, text)
	for _, want := range [][]string{
		{"key:Label", "string:org.idlegrid.gridagent"},
		{
			"key:ProgramArguments", "string:/usr/local/bin/gridagent", "string:run", "string:--state",
			"string:/Library/Application Support/idlegrid/agent", "string:--join", `string:<&">:1`, "key:UserName", "string:_idlegrid",
		},
		{"key:KeepAlive", "key:SuccessfulExit", "false:"},
		{"key:ProcessType", "string:Standard"},
	} {
		if i := slices.Index(got, want[0]); i < 0 || i+len(want) > len(got) || !slices.Equal(got[i:i+len(want)], want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// TestHelperPlist reads back what starts the helper with a session.
func TestHelperPlist(t *testing.T) {
	text, err := Agent("/usr/local/bin/a & b", "/Library/x y", []string{"--cores", "2"}).helperFile("plist")
	if err != nil {
		t.Fatal(err)
	}
	got := flatten(t, text)
	want := []string{
		"key:Label", "string:org.idlegrid.gridagent-session", "key:ProgramArguments", "string:/usr/local/bin/a & b",
		"string:session-helper", "string:--state", "string:/Library/x y", "key:LimitLoadToSessionType", "string:Aqua",
	}
	if len(got) < len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("%q, expected %q and more", got, want)
	}
}

// flatten returns the leaves of XML, as element:text.
func flatten(t *testing.T, text string) []string {
	t.Helper()
	var out []string
	var chars string
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			chars = ""
		case xml.CharData:
			chars += string(e)
		case xml.EndElement:
			switch e.Name.Local {
			case "key", "string", "integer", "true", "false":
				out = append(out, e.Name.Local+":"+chars)
			}
		}
	}
}
