package yamlfile_test

import (
	"strings"
	"testing"

	"idlegrid/jobs/yamlfile"
)

func TestNearest(t *testing.T) {
	known := []string{"memory", "name", "on_battery", "id"}
	for key, want := range map[string]string{
		"memroy": "memory", "Name": "name", "on_batery": "on_battery", "x": "", "xy": "", "charge": "", strings.Repeat("n", 100): "",
	} {
		if got := yamlfile.Nearest(key, known); got != want {
			t.Errorf("nearest to %.20s is %q, expected %q", key, got, want)
		}
	}
}

// TestParse: an empty file is none, and each refusal names what the file is.
func TestParse(t *testing.T) {
	for _, text := range []string{"", "# nothing", "---\n...\n", "null"} {
		if body, problem := yamlfile.Parse([]byte(text), "a test"); body != nil || problem != nil {
			t.Errorf("%q: %v, %v", text, body, problem)
		}
	}
	for text, want := range map[string]string{
		"a: *b":                 ":1:4: * starts a YAML alias here, which a test cannot have",
		"a: b\n---\nc: d":       ":2:1: a second document starts here, expected one a file",
		"a: [${b}]":             ":1:6: cannot be read as YAML: ",
		strings.Repeat("[", 20): ":1:17: is nested too deep",
	} {
		body, problem := yamlfile.Parse([]byte(text), "a test")
		if body != nil || problem == nil || !strings.HasPrefix(problem.Error(), want) {
			t.Errorf("%q: %v, %v, expected %s", text, body, problem, want)
		}
	}
}

// TestReader: all problems are told at once, each at its place.
func TestReader(t *testing.T) {
	body, problem := yamlfile.Parse([]byte("a: 1\nb: [x, {}]\nc: 99\nd: 1\na: 2\n"), "a test")
	if problem != nil {
		t.Fatal(problem)
	}
	r := yamlfile.Reader{File: "f"}
	fields, ok := r.Fields(yamlfile.Field{Node: body}, []string{"a", "b", "c", "e"})
	if !ok || fields["e"].Present() || r.Number(fields["a"], 0, 5) != 1 {
		t.Errorf("got %v, %v", fields, ok)
	}
	items, _ := r.List(fields["b"])
	for _, item := range items {
		r.Text(item)
	}
	r.Number(fields["c"], 0, 5)
	want := `f:2:8: b[1]: is a map, expected text
  hint: put it in quotes if it is meant as text
f:3:4: c: is 99, expected a whole number from 0 to 5
f:4:1: d: unknown key
  hint: known keys are a, b, c, e
f:5:1: a: duplicate key, the first is on line 1
  hint: remove one of the two`
	if got := r.Problems.Sorted().Error(); got != want {
		t.Errorf("got\n%s\nexpected\n%s", got, want)
	}
}

// TestScalars: numbers with a point, and flags, are taken as YAML's own words have them, and nothing else is.
func TestScalars(t *testing.T) {
	r := yamlfile.Reader{File: "f"}
	field := func(text string) yamlfile.Field {
		body, problem := yamlfile.Parse([]byte("k: "+text), "a test")
		if problem != nil {
			t.Fatal(problem)
		}
		fields, _ := r.Fields(yamlfile.Field{Node: body}, []string{"k"})
		return fields["k"]
	}
	for text, want := range map[string]float64{"0": 0, "0.5": 0.5, ".5": 0.5, "7": 7, "1.50": 1.5, "10": 10} {
		if got := r.Decimal(field(text), 0, 10); got != want || len(r.Problems) > 0 {
			t.Errorf("%s: %v, %v", text, got, r.Problems)
		}
	}
	if on, ok := r.Flag(field("true")); !on || !ok || len(r.Problems) > 0 {
		t.Errorf("true: %t, %t", on, ok)
	}
	for i, text := range []string{"-0.1", "10.1", ".nan", ".inf", "-.inf", "0x1", "1,5", `"5"`, "", "[1]", "many", "1e999"} {
		if got := r.Decimal(field(text), 0, 10); got != 0 || len(r.Problems) != i+1 {
			t.Errorf("%s: %v, %v", text, got, r.Problems)
		}
	}
	r.Problems = nil
	for i, text := range []string{"yes", `"true"`, "1", ""} {
		if on, ok := r.Flag(field(text)); on || ok || len(r.Problems) != i+1 {
			t.Errorf("%s: %t, %t, %v", text, on, ok, r.Problems)
		}
	}
}
