package durable

import (
	"io/fs"
	"os"
	"runtime"
	"testing"
)

func open(t *testing.T) *os.Root {
	t.Helper()
	dir, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestWriteFileReplaces(t *testing.T) {
	dir := open(t)
	if err := dir.Mkdir("sub", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"a longer first content", "second", ""} {
		for _, name := range []string{"x", "sub/x"} {
			if err := WriteFile(dir, name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := dir.ReadFile(name)
			if err != nil || string(got) != text {
				t.Fatalf("%s holds %q, %v; expected %q", name, got, err, text)
			}
		}
	}
	expectNames(t, dir, ".", "sub", "x")
	expectNames(t, dir, "sub", "x")
	if info, err := dir.Stat("x"); err != nil || runtime.GOOS != "windows" && info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info, err)
	}
}

func TestWriteFileTightensPermissions(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	dir := open(t)
	if err := dir.WriteFile("key", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(dir, "key", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if info, err := dir.Stat("key"); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestWriteFileLeavesNothingBehind(t *testing.T) {
	dir := open(t)
	if err := dir.MkdirAll("taken/inside", 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"taken", "missing/x", "../outside"} {
		if err := WriteFile(dir, name, []byte("data"), 0o600); err == nil {
			t.Errorf("%s was written", name)
		}
	}
	expectNames(t, dir, ".", "taken")
}

func expectNames(t *testing.T, dir *os.Root, folder string, want ...string) {
	t.Helper()
	entries, err := fs.ReadDir(dir.FS(), folder)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if len(names) != len(want) {
		t.Fatalf("%s holds %q, expected %q", folder, names, want)
	}
	for i := range want {
		if names[i] != want[i] {
			t.Fatalf("%s holds %q, expected %q", folder, names, want)
		}
	}
}
