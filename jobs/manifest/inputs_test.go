package manifest_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestInputsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var inputs []manifest.Input
		for i := range rapid.IntRange(0, 20).Draw(t, "n") {
			path := fmt.Sprintf("%s/%02d", rapid.StringMatching(`[a-zé ]{1,9}(/[a-z.-]{3,5}x)?`).Draw(t, "folder"), i)
			inputs = append(inputs, manifest.Input{Path: path, Blob: blob(path)})
		}
		b, err := manifest.EncodeInputs(inputs)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(inputs)
		if again, err := manifest.EncodeInputs(inputs); err != nil || string(again) != string(b) {
			t.Fatalf("another order gives other bytes, error %v", err)
		}
		back, err := manifest.DecodeInputs(b)
		if err != nil {
			t.Fatal(err)
		}
		slices.SortFunc(inputs, func(a, b manifest.Input) int { return strings.Compare(a.Path, b.Path) })
		if !reflect.DeepEqual(inputs, back) {
			t.Fatalf("encoded %v, decoded %v", inputs, back)
		}
	})
}

func TestInputsRefused(t *testing.T) {
	long := strings.Repeat("x", manifest.MaxPath+1)
	lists := map[string][]string{
		"empty path":    {""},
		"dot":           {"."},
		"absolute":      {"/etc/passwd"},
		"parent":        {"../x"},
		"inner parent":  {"a/../b"},
		"unclean":       {"a//b"},
		"slash at end":  {"a/"},
		"backslash":     {`a\b`},
		"NUL":           {"a\x00"},
		"line break":    {"a\nb"},
		"long":          {long},
		"twice":         {"a", "a"},
		"order":         {"b", "a"},
		"file, folder":  {"a", "a/b"},
		"file, folders": {"a", "a.b", "a/b/c"},
	}
	for name, paths := range lists {
		var p gridv1.InputList
		for _, path := range paths {
			d := jobs.DigestOf(nil)
			p.Inputs = append(p.Inputs, &gridv1.Input{Path: path, Blob: &gridv1.Blob{Digest: d[:]}})
		}
		refuseInputs(t, name, &p)
	}
	refuseInputs(t, "no blob", &gridv1.InputList{Inputs: []*gridv1.Input{{Path: "a"}}})
	refuseInputs(t, "short digest", &gridv1.InputList{Inputs: []*gridv1.Input{{Path: "a", Blob: &gridv1.Blob{Digest: []byte{1}}}}})
	refuseInputs(t, "too many", &gridv1.InputList{Inputs: make([]*gridv1.Input, manifest.MaxInputs+1)})
	if _, err := manifest.DecodeInputs(make([]byte, manifest.MaxInputList+1)); err == nil {
		t.Error("a list that is too large was decoded")
	}
}

func refuseInputs(t *testing.T, name string, p *gridv1.InputList) {
	t.Helper()
	for i, in := range p.GetInputs() {
		if in == nil {
			p.Inputs[i] = &gridv1.Input{}
		}
	}
	b, err := proto.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	if inputs, err := manifest.DecodeInputs(b); err == nil || inputs != nil || jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("%s: decoded %v, %v", name, inputs, err)
	}
}

func TestEncodeInputsRefusesWhatDecodeWould(t *testing.T) {
	for _, paths := range [][]string{{"a", "a"}, {"../a"}, {"a", "a/b"}} {
		var inputs []manifest.Input
		for _, path := range paths {
			inputs = append(inputs, manifest.Input{Path: path, Blob: blob(path)})
		}
		if _, err := manifest.EncodeInputs(inputs); jobs.KindOf(err) != jobs.Invalid {
			t.Errorf("%q: %v", paths, err)
		}
	}
}
