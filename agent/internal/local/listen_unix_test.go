//go:build unix

package local

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"idlegrid/jobs"
)

func TestSocketOfDeadAgentIsReplaced(t *testing.T) {
	path := socket(t)
	dead, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	dead.(*net.UnixListener).SetUnlinkOnClose(false)
	dead.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("the socket's file is to stay: %v", err)
	}
	s := serve(t, path)
	if _, err := open(t, path); err != nil {
		t.Fatal(err)
	}
	<-s.callers
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode().Perm(); mode != 0o666 {
		t.Errorf("mode %#o", mode)
	}
}

func TestListenRefuses(t *testing.T) {
	living, file, open := socket(t), socket(t), filepath.Join(shortDir(t), "open", "agent.sock")
	serve(t, living)
	if err := os.WriteFile(file, []byte("notes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Dir(open), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(open), 0o777); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		path string
		kind jobs.ErrorKind
		text string
	}{
		"a living agent":          {living, jobs.Exists, "listens at"},
		"a file":                  {file, jobs.Exists, "is no socket"},
		"a folder open to all":    {open, jobs.Denied, "can be written by others"},
		"a path that is too long": {"/" + strings.Repeat("x", 200), jobs.Invalid, "has 201 bytes"},
	} {
		l, err := Listen(c.path)
		if err == nil {
			l.Close()
		}
		if jobs.KindOf(err) != c.kind || err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, expected %s %q", name, err, c.kind, c.text)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "notes" {
		t.Errorf("the file was touched: %q, %v", content, err)
	}
}

// TestHelperCalls is no test: it is the other user of TestCallerOfAnotherUser.
func TestHelperCalls(t *testing.T) {
	path := os.Getenv("LOCAL_TEST_SOCKET")
	if path == "" {
		t.Skip("started by TestCallerOfAnotherUser only")
	}
	stream, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := end(stream); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

func TestCallerOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can run a program as another user")
	}
	dir := shortDir(t)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "agent.sock")
	s := serve(t, path)
	program := filepath.Join(dir, "caller") // the test's own program lies where others may not look
	self, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, self, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run", "^TestHelperCalls$", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "LOCAL_TEST_SOCKET="+path)
	const nobody = 65534
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Setsid: true}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c := <-s.callers
	if c.User != "65534" || c.PID != cmd.Process.Pid || c.Root || c.SameUser {
		t.Errorf("caller %+v, expected user 65534, process %d", c, cmd.Process.Pid)
	}
}
