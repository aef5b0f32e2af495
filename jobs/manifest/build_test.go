package manifest_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 999, time.UTC)

const full = minimal + `stdin: in.txt
inputs: [data/*.csv, data/copy/*]
keep: 2d
combine: {args: [combine]}
`

func buildJob(t testing.TB, dir, yaml string) *manifest.Build {
	t.Helper()
	spec, err := load(t, dir, yaml)
	if err != nil {
		t.Fatal(err)
	}
	b, err := spec.Build(jobs.KeyID(jobs.DigestOf([]byte("submitter"))), noon)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBuild(t *testing.T) {
	dir := folder(t, map[string]string{"data/copy/a.csv": "a"})
	b := buildJob(t, dir, full)
	m := b.Manifest
	if m.Program != blob("\x00asm job") || m.Combine.Program != m.Program || m.Stdin != blob("stdin") {
		t.Errorf("got %+v", m)
	}
	if !m.Created.Equal(noon.Truncate(time.Second)) || m.Expires.Sub(m.Created) != 48*time.Hour {
		t.Errorf("created %s, expires %s", m.Created, m.Expires)
	}
	inputs := []manifest.Input{
		{Path: "data/a.csv", Blob: blob("a")},
		{Path: "data/b.csv", Blob: blob("b")},
		{Path: "data/copy/a.csv", Blob: blob("a")},
	}
	if !reflect.DeepEqual(b.Inputs, inputs) {
		t.Errorf("inputs %v", b.Inputs)
	}
	back, err := manifest.Decode(b.Payload)
	if err != nil || !reflect.DeepEqual(back, m) || back.Supported() != nil {
		t.Errorf("decoded %+v, %v", back, err)
	}
	if b.ID() != jobs.JobID(jobs.DigestOf(b.Payload)) {
		t.Errorf("ID %s", b.ID())
	}
	checkFiles(t, dir, b)
}

// checkFiles reads every blob and finds each once, and all that the job names.
func checkFiles(t *testing.T, dir string, b *manifest.Build) {
	t.Helper()
	need := make(map[jobs.Blob]bool)
	for _, blob := range b.Manifest.Blobs() {
		need[blob] = true
	}
	for _, in := range b.Inputs {
		need[in.Blob] = true
	}
	for _, f := range b.Files {
		content := read(t, f)
		if blob(content) != f.Blob || !need[f.Blob] {
			t.Errorf("%s is not needed, was given twice, or is not its blob", f.Path)
		}
		delete(need, f.Blob)
		if f.Blob == b.Manifest.Inputs {
			if list, err := manifest.DecodeInputs([]byte(content)); err != nil || !reflect.DeepEqual(list, b.Inputs) || f.Path != "" {
				t.Errorf("list of inputs %v at %q, %v", list, f.Path, err)
			}
		} else if !strings.HasPrefix(f.Path, dir) {
			t.Errorf("path %q", f.Path)
		}
	}
	if len(need) > 0 {
		t.Errorf("missing %v", need)
	}
}

func read(t *testing.T, f manifest.File) string {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func TestBuildIsAFunctionOfItsInputs(t *testing.T) {
	one, two := buildJob(t, folder(t, nil), minimal), buildJob(t, folder(t, nil), "# Same job.\n"+minimal)
	if one.ID() != two.ID() {
		t.Errorf("the same job has the IDs %s and %s", one.ID(), two.ID())
	}
	other := buildJob(t, folder(t, map[string]string{"job.wasm": "\x00asm other"}), minimal)
	if one.ID() == other.ID() {
		t.Error("another program has the same ID")
	}
}

func TestBuildNoticesChanges(t *testing.T) {
	tests := []struct {
		name, want, hint string
		change           func(dir string) error
	}{
		{"program", "job.wasm changed since it was checked", "submit again", func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "job.wasm"), []byte("hello"), 0o644)
		}},
		{"stdin gone", "in.txt: does not exist", "paths are relative to the folder of job.yaml", func(dir string) error {
			return os.Remove(filepath.Join(dir, "in.txt"))
		}},
		{"input is a folder now", "b.csv: is a folder, expected a file", "", func(dir string) error {
			path := filepath.Join(dir, "data", "b.csv")
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
		}},
		{"all gone", "open the job's folder", "", os.RemoveAll},
	}
	for _, test := range tests {
		dir := folder(t, map[string]string{"data/copy/a.csv": "a"})
		spec, err := load(t, dir, full)
		if err != nil {
			t.Fatal(err)
		}
		if err := test.change(dir); err != nil {
			t.Fatal(err)
		}
		b, err := spec.Build(jobs.KeyID{1}, noon)
		if b != nil || jobs.KindOf(err) != jobs.Invalid || !strings.Contains(err.Error(), test.want) ||
			!strings.Contains(jobs.HintOf(err), test.hint) {
			t.Errorf("%s: %v, hint %q", test.name, err, jobs.HintOf(err))
		}
	}
}

func TestBuildNeedsASubmitter(t *testing.T) {
	spec, err := load(t, folder(t, nil), minimal)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := spec.Build(jobs.KeyID{}, noon); b != nil || jobs.KindOf(err) != jobs.Invalid {
		t.Errorf("got %v, %v", b, err)
	}
}

// TestOpenNoticesChanges changes an input between the check and the upload.
func TestOpenNoticesChanges(t *testing.T) {
	long := strings.Repeat("0123456789", 10_000)
	tests := map[string]string{
		"changed":   strings.Repeat("0123456780", 10_000),
		"grown":     long + "x",
		"shortened": long[1:],
		"emptied":   "",
	}
	for name, now := range tests {
		dir := folder(t, map[string]string{"in.txt": long})
		b := buildJob(t, dir, minimal+"stdin: in.txt\n")
		path := filepath.Join(dir, "in.txt")
		write(t, path, now)
		r, err := b.Files[1].Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if jobs.KindOf(err) != jobs.Invalid || err.Error() != path+" changed since it was checked" ||
			jobs.HintOf(err) != "submit again" || len(content) > len(long) {
			t.Errorf("%s: read %d bytes, %v, hint %q", name, len(content), err, jobs.HintOf(err))
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenNoticesThatAFileIsGone(t *testing.T) {
	dir := folder(t, nil)
	b := buildJob(t, dir, minimal)
	if err := os.Remove(filepath.Join(dir, "job.wasm")); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Files[0].Open(); jobs.KindOf(err) != jobs.Invalid || !strings.Contains(err.Error(), "job.wasm: does not exist") {
		t.Errorf("got %v", err)
	}
}

// TestCheckedOnce: a program that serves twice is checked once, and again when its bytes are others.
func TestCheckedOnce(t *testing.T) {
	dir, calls := folder(t, nil), 0
	path := filepath.Join(dir, "job.yaml")
	write(t, path, minimal+"combine: {program: ./job.wasm}\n")
	_, err := manifest.Load(path, func(name string, _ []byte) error {
		calls++
		if name != "job.wasm" {
			t.Errorf("check of %q", name)
		}
		return nil
	})
	if err != nil || calls != 1 {
		t.Errorf("%d checks, %v", calls, err)
	}
}

func TestUnreadableFile(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("nothing is unreadable here")
	}
	dir := folder(t, nil)
	if err := os.Chmod(filepath.Join(dir, "job.wasm"), 0); err != nil {
		t.Fatal(err)
	}
	if got := problemsOf(t, dir, minimal); got != `2:10: program: "job.wasm" cannot be read: permission denied` {
		t.Errorf("got %s", got)
	}
}
