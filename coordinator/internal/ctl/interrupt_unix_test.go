//go:build unix

package ctl_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"idlegrid/coordinator/internal/ctl"
)

// interrupter is a person at a terminal who presses Ctrl-C when the units are running.
type interrupter struct {
	bytes.Buffer
	t *testing.T
}

func (i *interrupter) Write(b []byte) (int, error) {
	if bytes.HasPrefix(b, []byte("running ")) {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			i.t.Error(err)
		}
	}
	return i.Buffer.Write(b)
}

func TestInterrupt(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", dir)
	t.Setenv("HOME", dir)
	job := filepath.Join(dir, "job.yaml")
	for name, content := range map[string]string{
		"job.yaml":  "name: spin\nprogram: spin.wasm\nunits: {count: 3}\n",
		"spin.wasm": modules["spin.wasm"],
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var stdout bytes.Buffer
	stderr := &interrupter{t: t}
	out := filepath.Join(dir, "out")
	if code := ctl.Main([]string{"run", job, "-d", out}, nil, &stdout, stderr); code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{"interrupt", "; 0 of 3 units done\n", "hint: run it again to go on\n"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("%q is not in %q", want, stderr.String())
		}
	}
	if stdout.Len() != 0 {
		t.Errorf("standard output %q", &stdout)
	}
	index, err := fs.ReadFile(os.DirFS(out), "units.json")
	if err != nil || strings.Count(string(index), `"status":"open"`) != 3 {
		t.Errorf("units.json: %s, %v", index, err)
	}
}
