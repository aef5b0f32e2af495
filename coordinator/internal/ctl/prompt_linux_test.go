package ctl_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/coordinator/internal/ctl"
)

// openTerminal returns the two ends of a terminal: a person's and a program's.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = person.Close() })
	if err := unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return person, program
}

// onTerminal runs gridctl for a person who answers its question, and returns what they saw.
func onTerminal(t *testing.T, answer string, args ...string) string {
	t.Helper()
	person, program := openTerminal(t)
	screen := make(chan string)
	go func() {
		var seen bytes.Buffer
		for asked, part := false, make([]byte, 1024); ; {
			n, err := person.Read(part)
			seen.Write(part[:n])
			if !asked && strings.Contains(seen.String(), "[y/N] ") {
				asked = true
				_, err = person.WriteString(answer + "\n")
			}
			if err != nil { // the program's end is closed
				screen <- seen.String()
				return
			}
		}
	}()
	var stdout bytes.Buffer
	code := ctl.Main(args, program, &stdout, program)
	if err := program.Close(); err != nil {
		t.Error(err)
	}
	seen := <-screen
	if code != 0 || stdout.Len() > 0 {
		t.Errorf("%q: exit code %d, standard output %q, on the terminal %q", args, code, &stdout, seen)
	}
	return seen
}

// TestAPersonIsAsked: at a terminal, cancel and results ask before they end a job, and anything but yes is no.
func TestAPersonIsAsked(t *testing.T) {
	grid, dir := ctl.NewGrid(t), t.TempDir()
	t.Setenv("GRID_CONFIG", filepath.Join(dir, "login"))
	t.Setenv("TERM", "xterm")
	writeFile(t, filepath.Join(dir, "nothing.wasm"), modules["nothing.wasm"])
	writeFile(t, filepath.Join(dir, "job.yaml"), "name: asked\nprogram: nothing.wasm\nunits: {count: 2}\n")
	results := filepath.Join(dir, "results")
	for _, args := range [][]string{
		{"login", grid.Token(identity.Grant{Role: peer.Submitter}, time.Hour)},
		{"submit", filepath.Join(dir, "job.yaml")},
		{"wait", "asked"},
		{"results", "asked", "-d", results}, // nobody is there, and nothing is sealed
	} {
		var out bytes.Buffer
		if code := ctl.Main(args, strings.NewReader("y\n"), &out, &out); code != 0 || strings.Contains(out.String(), "ealed") {
			t.Fatalf("%q: exit code %d, %s", args, code, &out)
		}
	}
	for _, step := range []struct {
		args   []string
		answer string
		want   string
	}{
		{[]string{"cancel", "asked"}, "", " goes on\r\n"},
		{[]string{"results", "asked", "-d", results}, "nay", "\nthe agents keep the results until "},
		{[]string{"results", "asked", "-d", results}, "Yes", "\nsealed job "},
	} {
		if seen := onTerminal(t, step.answer, step.args...); !strings.Contains(seen, "? [y/N] ") || !strings.Contains(seen, step.want) {
			t.Errorf("%q, answered %q: %q, expected %q", step.args, step.answer, seen, step.want)
		}
	}
}
