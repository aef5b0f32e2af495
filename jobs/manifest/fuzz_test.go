package manifest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

// FuzzLoad reads anything as a job.yaml: it ends in a job that can be built or in problems that a person
// can read.
func FuzzLoad(f *testing.F) {
	for _, yaml := range []string{
		minimal, full, "", "a: b: c", "name: [", "a: &x [*x]", "args: [${unit}]", "units: {count: 1e9}", "? a\n: b",
		"---\n...\n---\n", "inputs: ['**/*', \"\\x00\"]", "keep: 9999999999999999999d", "memory: 4294967296KiB", "name: |\n  x\n",
		"{a: {b: [c, {d: e}]}}", "combine:\n  args:\n  - ${unit}\n", "\ufeffname: \xff", "<<: *a", "!!map {}", "a:\n\t- b", "- - - a",
	} {
		f.Add([]byte(yaml))
	}
	dir := folder(f, map[string]string{"data/copy/a.csv": "a"})
	path := filepath.Join(dir, "job.yaml")
	f.Fuzz(func(t *testing.T, yaml []byte) {
		if err := os.WriteFile(path, yaml, 0o644); err != nil {
			t.Fatal(err)
		}
		spec, err := manifest.Load(path, checkProgram)
		if err != nil {
			checkProblems(t, err)
			return
		}
		b, err := spec.Build(jobs.KeyID{1}, noon)
		if err != nil {
			t.Fatal(err)
		}
		m, err := manifest.Decode(b.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Supported(); err != nil {
			t.Fatal(err)
		}
	})
}

func checkProblems(t *testing.T, err error) {
	t.Helper()
	var problems manifest.Problems
	if !errors.As(err, &problems) || len(problems) == 0 || jobs.KindOf(err) != jobs.Invalid {
		t.Fatalf("error %v of type %T", err, err)
	}
	for _, p := range problems {
		line := p.Error()
		if p.Message == "" || !utf8.ValidString(line) || strings.IndexFunc(line+p.Hint, unicode.IsControl) >= 0 || len(line) > 4000 {
			t.Fatalf("%q is no readable line", line)
		}
	}
}

// FuzzDecode: what is decoded has one encoding, which decodes to the same.
func FuzzDecode(f *testing.F) {
	b, err := fixed().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := manifest.Decode(b)
		if err != nil {
			if m != nil || jobs.KindOf(err) != jobs.Invalid {
				t.Fatalf("got %v with %v", m, err)
			}
			return
		}
		one, err := m.Encode()
		if err != nil {
			t.Fatal(err) // Too large is no excuse: no encoding is shorter than the canonical one.
		}
		again, err := manifest.Decode(one)
		if err != nil {
			t.Fatal(err)
		}
		two, err := again.Encode()
		if err != nil || string(one) != string(two) {
			t.Fatalf("%x, then %x, %v", one, two, err)
		}
		first, n := m.BundleUnits(m.BundleOf(m.Units - 1))
		if first+n != m.Units || m.ShardOf(m.Bundles()-1) != m.Shards()-1 {
			t.Fatalf("%d units end at %d", m.Units, first+n)
		}
		m.Command(m.Units - 1)
	})
}

// FuzzDecodeInputs: what is decoded can be encoded and is the same again.
func FuzzDecodeInputs(f *testing.F) {
	b, err := manifest.EncodeInputs([]manifest.Input{{Path: "a", Blob: blob("a")}, {Path: "b/c", Blob: blob("c")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		inputs, err := manifest.DecodeInputs(b)
		if err != nil {
			if inputs != nil || jobs.KindOf(err) != jobs.Invalid {
				t.Fatalf("got %v with %v", inputs, err)
			}
			return
		}
		one, err := manifest.EncodeInputs(inputs)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := manifest.DecodeInputs(one); err != nil || len(again) != len(inputs) {
			t.Fatalf("decoded %v, then %v, %v", inputs, again, err)
		}
	})
}
