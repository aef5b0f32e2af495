package ctl_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/coordinator/internal/ctl"
)

// frames sends what is drawn on a terminal, a frame at a time.
func frames(t *testing.T, person *os.File) <-chan string {
	all := make(chan string)
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	go func() {
		var seen bytes.Buffer
		for part := make([]byte, 4096); ; {
			n, err := person.Read(part)
			if err != nil { // the program's end is closed
				return
			}
			seen.Write(part[:n])
			for {
				frame, rest, whole := strings.Cut(seen.String(), "\n\x1b[J")
				if !whole {
					break
				}
				seen.Reset()
				seen.WriteString(rest)
				select {
				case all <- frame:
				case <-done:
					return
				}
			}
		}
	}()
	return all
}

// TestTopOnATerminal: keys choose what is seen, and a terminal of another size gets what fits, at once and not with the
// next look.
func TestTopOnATerminal(t *testing.T) {
	grid, dir := ctl.NewGrid(t), t.TempDir()
	t.Setenv("GRID_CONFIG", filepath.Join(dir, "login"))
	t.Setenv("TERM", "xterm")
	writeFile(t, filepath.Join(dir, "nothing.wasm"), modules["nothing.wasm"])
	for _, name := range []string{"alpha", "beta"} {
		writeFile(t, filepath.Join(dir, name+".yaml"), "name: "+name+"\nprogram: nothing.wasm\nunits: {count: 2}\n")
	}
	for _, args := range [][]string{
		{"login", grid.Token(identity.Grant{Role: peer.Submitter}, time.Hour)},
		{"submit", filepath.Join(dir, "alpha.yaml")},
		{"wait", "alpha"},
		{"submit", filepath.Join(dir, "beta.yaml")},
		{"wait", "beta"},
	} {
		var out bytes.Buffer
		if code := ctl.Main(args, strings.NewReader(""), &out, &out); code != 0 {
			t.Fatalf("%q: exit code %d, %s", args, code, &out)
		}
	}
	person, program := openTerminal(t)
	resize := func(columns, rows uint16) {
		if err := unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}); err != nil {
			t.Fatal(err)
		}
		// The terminal is not that of this process, which a shell's would tell.
		if err := syscall.Kill(os.Getpid(), syscall.SIGWINCH); err != nil {
			t.Fatal(err)
		}
	}
	resize(120, 30)
	seen, ended := frames(t, person), make(chan int, 1)
	var stderr bytes.Buffer
	go func() { ended <- ctl.Main([]string{"top", "--interval", "1h"}, program, program, &stderr) }()
	await := func(what, pattern string) {
		t.Helper()
		match := regexp.MustCompile("(?s)" + pattern)
		timeout := time.After(time.Minute)
		for last := ""; !match.MatchString(last); {
			select {
			case last = <-seen:
			case code := <-ended:
				t.Fatalf("%s: ended with exit code %d, %s", what, code, &stderr)
			case <-timeout:
				t.Fatalf("%s: %q does not match %q", what, last, pattern)
			}
		}
	}
	types := func(keys string) {
		t.Helper()
		if _, err := person.WriteString(keys); err != nil {
			t.Fatal(err)
		}
	}
	// The newer one is above, but by its ID where both were made in one second.
	await("at first", `2 cores offered, 0 used, .* (beta .* alpha|alpha .* beta) .*\r\nthe busiest first   s: sort, /: filter, q: end`)
	types("sss")
	await("sorted by name", `alpha .* beta .*by name   s: sort`)
	types("/bet")
	await("while the filter is typed", `UNTIL[^\n]*\n[^\n]* beta [^\n]*\n[^\n]*\n/bet_   Enter`)
	types("\r")
	await("with a filter", `by name, with "bet" `)
	resize(40, 30)
	await("on a narrow terminal", `\x1b\[H\x1b\[J.*ID  +NAME .*beta`)
	types("\x1b")
	await("without the filter", `alpha .* beta`)
	types("q")
	select {
	case code := <-ended:
		if code != 0 || stderr.Len() > 0 {
			t.Errorf("exit code %d, %s", code, &stderr)
		}
	case <-time.After(time.Minute):
		t.Fatal("q does not end it")
	}
	if err := program.Close(); err != nil {
		t.Error(err)
	}
}
