package results

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/ledger"
	"idlegrid/jobs/record"
)

var squares = Job{ID: jobs.DigestOf([]byte("squares")), Name: "squares", Units: 20}

func open(t *testing.T, dir string, job Job) *Folder {
	t.Helper()
	f, err := Open(dir, job)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func put(t *testing.T, f *Folder, unit uint64, r Result) {
	t.Helper()
	if err := f.Put(unit, &r); err != nil {
		t.Fatal(err)
	}
}

// success is a unit with everything that a unit may have.
func success() Result {
	return Result{
		Status: ledger.Accepted,
		Outcome: record.Outcome{
			ExitCode: 3, Stdout: []byte("out"), Stderr: []byte("err"),
			Files: []record.File{{Path: "z.txt", Data: []byte("z")}, {Path: "a/b/c.bin", Data: []byte{0, 1}}, {Path: "empty"}},
		},
		Times: jobs.Times{CPU: 1500 * time.Millisecond, Wall: 2 * time.Second}, Attempt: 1,
		Agent: jobs.AgentID{7}, Runtime: "wazero 1", Platform: "linux/amd64",
	}
}

// tree returns all files under dir with their content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	folder := os.DirFS(dir)
	err := fs.WalkDir(folder, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		content, err := fs.ReadFile(folder, name)
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestPutWritesTheFolder(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "new", "folder"), squares)
	r := success()
	put(t, f, 17, r)
	files := tree(t, filepath.Join(f.Dir(), "units"))
	var meta Meta
	if err := json.Unmarshal([]byte(files["000017/meta.json"]), &meta); err != nil {
		t.Fatal(err)
	}
	delete(files, "000017/meta.json")
	want := map[string]string{
		"000017/stdout": "out", "000017/stderr": "err",
		"000017/out/z.txt": "z", "000017/out/a/b/c.bin": "\x00\x01", "000017/out/empty": "",
	}
	if len(files) != len(want) {
		t.Errorf("files %q, expected %q", files, want)
	}
	for name, content := range want {
		if got, ok := files[name]; !ok || got != content {
			t.Errorf("%s: %q, %t, expected %q", name, got, ok, content)
		}
	}
	if meta.Unit == nil || *meta.Unit != 17 || meta.Status != "accepted" || meta.ExitCode != 3 || meta.Failure != nil ||
		meta.CPUSeconds != 1.5 || meta.WallSeconds != 2 || meta.Attempt != 1 || !strings.HasPrefix(meta.Agent, "0700") ||
		meta.Runtime != "wazero 1" || meta.Platform != "linux/amd64" || meta.Digest != r.Outcome.Digest().String() {
		t.Errorf("meta.json: %+v", meta)
	}
}

func TestIndex(t *testing.T) {
	f := open(t, t.TempDir(), Job{ID: squares.ID, Name: "three", Units: 3})
	put(t, f, 2, success())
	put(t, f, 0, Result{Status: ledger.Failed, Failure: jobs.Failure{Kind: jobs.FailureTrap, Text: "un\"reachable\n"}})
	if err := f.Save(); err != nil {
		t.Fatal(err)
	}
	good, none := success(), record.Outcome{}
	want := `[
{"unit":0,"status":"failed","reason":"trap: un\"reachable\n","digest":"` + none.Digest().String() + `"},
{"unit":1,"status":"open","reason":"","digest":""},
{"unit":2,"status":"accepted","reason":"","digest":"` + good.Outcome.Digest().String() + `"}
]
`
	if got := tree(t, f.Dir())["units.json"]; got != want {
		t.Errorf("units.json:\n%s\nexpected:\n%s", got, want)
	}
	if !json.Valid([]byte(want)) {
		t.Error("no JSON")
	}
}

func TestVerifiedNoticesWhatChanged(t *testing.T) {
	r := success()
	unit := filepath.Join("units", "000004")
	tests := map[string]func(dir string) error{
		"stdout changed": func(dir string) error { return os.WriteFile(filepath.Join(dir, "stdout"), []byte("ouT"), 0o600) },
		"stderr is gone": func(dir string) error { return os.Remove(filepath.Join(dir, "stderr")) },
		"meta is gone":   func(dir string) error { return os.Remove(filepath.Join(dir, "meta.json")) },
		"meta is none":   func(dir string) error { return os.WriteFile(filepath.Join(dir, "meta.json"), []byte("{"), 0o600) },
		"file is gone":   func(dir string) error { return os.Remove(filepath.Join(dir, "out", "empty")) },
		"file is new":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "out", "new"), nil, 0o600) },
		"file is cut":    func(dir string) error { return os.Truncate(filepath.Join(dir, "out", "a", "b", "c.bin"), 1) },
		"file is a link": func(dir string) error {
			name := filepath.Join(dir, "out", "z.txt")
			return joined(os.Rename(name, filepath.Join(dir, "..", "z.txt")), os.Symlink("../../z.txt", name))
		},
		"folder is gone": os.RemoveAll,
		"of another unit": func(dir string) error {
			return joined(os.RemoveAll(dir), os.Rename(filepath.Join(dir, "..", "000005"), dir))
		},
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			f := open(t, t.TempDir(), squares)
			put(t, f, 4, r)
			put(t, f, 5, r)
			if digest, ok := f.Verified(4); !ok || digest != r.Outcome.Digest() {
				t.Fatalf("not verified before: %v, %t", digest, ok)
			}
			if err := change(filepath.Join(f.Dir(), unit)); err != nil {
				t.Skip(err) // such as links where the user may not make them
			}
			if _, ok := f.Verified(4); ok {
				t.Error("verified")
			}
			put(t, f, 4, r)
			if _, ok := f.Verified(4); !ok {
				t.Error("not put right")
			}
		})
	}
}

// joined returns the first error.
func joined(errs ...error) error {
	i := slices.IndexFunc(errs, func(err error) bool { return err != nil })
	if i < 0 {
		return nil
	}
	return errs[i]
}

func TestFailedUnitsAreNotVerified(t *testing.T) {
	f := open(t, t.TempDir(), squares)
	r := success()
	r.Status, r.Failure = ledger.Failed, jobs.Failure{Kind: jobs.FailureExit, Text: "exit code 3"}
	put(t, f, 0, r)
	if _, ok := f.Verified(0); ok {
		t.Error("a failed unit is verified")
	}
}

func TestPutLeavesNothingBehind(t *testing.T) {
	tests := map[string][]record.File{
		"escapes":           {{Path: "../../evil"}},
		"twice":             {{Path: "a"}, {Path: "a"}},
		"a file and folder": {{Path: "a"}, {Path: "a/b"}},
		"a folder and file": {{Path: "a/b"}, {Path: "a"}},
	}
	for name, files := range tests {
		t.Run(name, func(t *testing.T) {
			f := open(t, t.TempDir(), squares)
			good := success()
			put(t, f, 1, good)
			before := tree(t, f.Dir())
			err := f.Put(1, &Result{Status: ledger.Accepted, Outcome: record.Outcome{Files: files}})
			if err == nil || !strings.HasPrefix(err.Error(), "write unit 1: ") {
				t.Errorf("error %v", err)
			}
			after := tree(t, f.Dir())
			if len(after) != len(before) {
				t.Errorf("files %q, expected %q", after, before)
			}
			if f.Rows()[1].Digest != good.Outcome.Digest() {
				t.Error("the row changed")
			}
		})
	}
}

func TestAFolderIsOfOneJob(t *testing.T) {
	other := Job{ID: jobs.DigestOf([]byte("other")), Name: "other", Units: 20}
	local := func(j Job) Job { j.Local = true; return j }
	replace := func(j Job) Job { j.Replace = true; return j }
	tests := []struct {
		name          string
		first, second Job
		kept, replace bool
	}{
		{"the same", squares, squares, true, false},
		{"another", squares, other, false, false},
		{"a local after a grid's", squares, local(other), false, false},
		{"a grid's after a local", local(squares), other, false, false},
		{"the local one, submitted", local(squares), squares, false, false},
		{"the same local", local(squares), local(squares), true, false},
		{"another local", local(squares), local(other), false, false},
		{"another local in its place", local(squares), replace(local(other)), false, true},
		{"a local in place of a grid's", squares, replace(local(other)), false, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			f := open(t, dir, test.first)
			put(t, f, 3, success())
			f, err := Open(dir, test.second)
			if !test.kept && !test.replace {
				if jobs.KindOf(err) != jobs.Exists || jobs.HintOf(err) == "" {
					t.Errorf("error %v", err)
				}
				f = open(t, dir, test.first)
				test.kept = true
			} else if err != nil {
				t.Fatal(err)
			}
			if f.Replaced() != test.replace {
				t.Errorf("replaced: %t", f.Replaced())
			}
			if _, ok := f.Verified(3); ok != test.kept {
				t.Errorf("unit 3 is there: %t", ok)
			}
		})
	}
}

func TestALocalJobMayChangeItsUnits(t *testing.T) {
	dir := t.TempDir()
	job := squares
	job.Local = true
	f := open(t, dir, job)
	put(t, f, 3, success())
	put(t, f, 19, success())
	job.Units = 4
	f = open(t, dir, job)
	if _, ok := f.Verified(3); !ok {
		t.Error("unit 3 of 4 is not there")
	}
	if _, err := os.Stat(filepath.Join(dir, "units", "000019")); err == nil {
		t.Error("unit 19 of 4 is there")
	}
}

func TestOpenSweepsWhatWasHalfMade(t *testing.T) {
	f := open(t, t.TempDir(), squares)
	put(t, f, 0, success())
	for _, name := range []string{"units/.tmp-A/out", ".tmp-B", "units/000020", "units/0000003", "units/notes"} {
		if err := os.MkdirAll(filepath.Join(f.Dir(), filepath.FromSlash(name)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	open(t, f.Dir(), squares)
	entries, err := os.ReadDir(filepath.Join(f.Dir(), "units"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{"000000", "notes"}; !slices.Equal(names, want) {
		t.Errorf("units has %q, expected %q", names, want)
	}
	if _, err := os.Stat(filepath.Join(f.Dir(), ".tmp-B")); err == nil {
		t.Error(".tmp-B is there")
	}
}

func TestOpenFollowsNoLinkOut(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	f := open(t, dir, squares)
	put(t, f, 0, success())
	if err := joined(os.RemoveAll(filepath.Join(dir, "units")), os.Symlink(outside, filepath.Join(dir, "units"))); err != nil {
		t.Skip(err)
	}
	if f, err := Open(dir, squares); err == nil {
		err = f.Put(0, &Result{Status: ledger.Accepted})
		if err == nil {
			t.Error("wrote through a link")
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
	if len(tree(t, outside)) != 0 {
		t.Error("something was written outside")
	}
}

func TestTooManyUnits(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "never")
	_, err := Open(dir, Job{ID: squares.ID, Name: "large", Units: MaxUnits + 1})
	if jobs.KindOf(err) != jobs.Exhausted || jobs.HintOf(err) == "" {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the folder was made")
	}
}

func TestDigitsOfUnitFolders(t *testing.T) {
	for units, want := range map[uint64]string{
		1: "units/000000", 1_000_000: "units/000000", 1_000_001: "units/0000000",
	} {
		f := &Folder{job: Job{Units: units}}
		if got := f.unitFolder(0); got != want {
			t.Errorf("unit 0 of %d: %s, expected %s", units, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	good := []string{"a", "a/b.txt", ".hidden", "a b", "com", "COM10", "com12", "console", "nul1", "lpt", "ü.png", "a.con"}
	bad := []string{
		"con", "NUL", "nul.txt", "a/AUX/b", "com1", "LPT9.dat", "COM¹", "con .txt", "a:b", "a/b:stream", "what?",
		"*", "a<b", "a|b", `a"b`, "dot.", "blank ", "dots/.../x", "bell\a",
	}
	for _, name := range good {
		if err := checkName(name, true); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range bad {
		err := checkName(name, true)
		if jobs.KindOf(err) != jobs.Unsupported || jobs.HintOf(err) == "" {
			t.Errorf("%q: error %v", name, err)
		}
		if err := checkName(name, false); err != nil {
			t.Errorf("%q elsewhere: %v", name, err)
		}
	}
	if onWindows != (runtime.GOOS == "windows") {
		t.Error("the wrong system")
	}
}

func TestPutInParallel(t *testing.T) {
	f := open(t, t.TempDir(), squares)
	r := success()
	var group sync.WaitGroup
	for unit := range squares.Units {
		group.Go(func() {
			if err := f.Put(unit, &r); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for unit, row := range f.Rows() {
		if _, ok := f.Verified(uint64(unit)); !ok || row.Status != ledger.Accepted || row.Unit != uint64(unit) {
			t.Errorf("unit %d: verified %t, row %+v", unit, ok, row)
		}
	}
}
