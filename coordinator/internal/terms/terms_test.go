package terms

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
)

func blob(name string, size int64) jobs.Blob {
	return jobs.Blob{Digest: jobs.DigestOf([]byte(name)), Size: size}
}

func small() *manifest.Manifest {
	now := time.Unix(0, 0)
	return &manifest.Manifest{
		Program: blob("program", 2<<20), Units: 10, Bundle: 1, Quorum: 1, Memory: 64 << 20, Timeout: time.Minute,
		Checkpoint: manifest.NoCheckpoint, SuccessCodes: []uint32{0}, Created: now, Expires: now.Add(36 * time.Hour),
	}
}

func TestRows(t *testing.T) {
	p := "2 MiB, " + jobs.DigestOf([]byte("program")).String()
	want := [][]string{
		{"program", p},
		{"inputs", "none"},
		{"bundle", "1 unit, 10 bundles in 1 shard"},
		{"quorum", "1 owner"},
		{"memory", "64 MiB a unit"},
		{"timeout", "1m0s a unit"},
		{"checkpoint", "none"},
		{"retries", "0"},
		{"success codes", "0"},
		{"keep", "36h0m0s"},
		{"combine", "none"},
	}
	if got := Rows(small(), nil); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	m := small()
	m.Args, m.Env = []string{"plain", "two words", ""}, []manifest.EnvVar{{Name: "A", Value: "b"}}
	m.Stdin, m.Inputs = blob("stdin", 1), blob("list", 100)
	m.Checkpoint, m.SuccessCodes, m.Expires = 0, []uint32{0, 3}, m.Created.Add(14*24*time.Hour)
	m.Combine = &manifest.Combine{Program: m.Program, Args: []string{"sum"}}
	for name, want := range map[string]string{
		"args": `plain "two words" ""`, "env": "A=b", "stdin": "1 bytes, " + m.Stdin.String(), "inputs": "not known now",
		"checkpoint": "every 2m0s", "success codes": "0 3", "keep": "14d", "combine": "the same program, args sum",
	} {
		if got := value(Rows(m, nil), name); got != want {
			t.Errorf("%s: %q, expected %q", name, got, want)
		}
	}
	var inputs []manifest.Input
	for n := range maxNamed + 1 {
		inputs = append(inputs, manifest.Input{Path: fmt.Sprint(n), Blob: blob("x", 1<<10)})
	}
	if got := value(Rows(m, inputs), "inputs"); got != "6 files, 6 KiB: 0, 1, 2, 3, 4, …" {
		t.Errorf("many inputs: %q", got)
	}
	m.Combine.Program, m.Combine.Args = blob("other", 3), nil
	if got := value(Rows(m, inputs), "combine"); !strings.HasPrefix(got, "3 bytes, ") {
		t.Errorf("another program: %q", got)
	}
}

func value(rows [][]string, name string) string {
	for _, row := range rows {
		if row[0] == name {
			return row[1]
		}
	}
	return ""
}
