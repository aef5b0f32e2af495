package e2e_test

import (
	"errors"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"idlegrid/jobs"
)

// TestTokens uses tokens in all the wrong ways. None leaves anything behind, or keeps a right token from working.
func TestTokens(t *testing.T) {
	t.Parallel()
	g := newGrid(t)
	used, right := g.token("--class", always), g.token("--class", always)
	g.must("gridagent", "join", "--state", g.path("first"), used)
	other := emptyGrid(t, patience)
	for _, c := range []struct {
		what, token string
		code        int
		says        []string
	}{
		{"used", used, 1, []string{"this token was used already", "hint: each machine needs a token of its own"}},
		{"expired", g.token("--class", always, "--ttl", "1ms"), 1, []string{"the join token expired", "hint: ask the operator for a new one"}},
		{
			"another grid's", other.token("--class", always, "--address", g.coordinator.addresses().Grid), 1,
			[]string{"the server is not of the grid that the token is for", "hint: ask the operator for a new token"},
		},
		{"for a person", g.token("--role", "submitter"), 2, []string{"for the role submitter, expected agent", "hint: agents join with"}},
		{"cut short", right[:len(right)/2], 2, []string{"this is no join token", "hint: copy the whole line"}},
		{"without its end", right[:len(right)-1], 2, []string{"this is no join token", "hint: copy the whole line"}},
		{"nonsense", "grid1.nonsense", 2, []string{"this is no join token", "hint: copy the whole line"}},
	} {
		fresh, there := g.path("fresh"), g.path("there")
		if err := os.MkdirAll(there, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, state := range []string{fresh, there} {
			g.exits(c.code, "gridagent", "join", "--state", state, c.token).says(t, c.says...)
		}
		if _, err := os.Stat(fresh); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a token that is %s leaves a folder behind (%v)", c.what, err)
		}
		if left := fingerprint(t, there); len(left) > 0 {
			t.Errorf("a token that is %s leaves behind: %v", c.what, left)
		}
	}
	before := fingerprint(t, g.path("first"))
	g.exits(1, "gridagent", "join", "--state", g.path("first"), right).says(t, "has joined a grid already", "hint: remove that folder")
	if after := fingerprint(t, g.path("first")); !maps.Equal(before, after) {
		t.Errorf("joining twice changed a state folder: %v, before: %v", after, before)
	}
	g.must("gridagent", "join", "--state", g.path("there"), right)
}

// fingerprint returns the digests of the files in a folder, by their paths.
func fingerprint(t *testing.T, dir string) map[string]jobs.Digest {
	t.Helper()
	files := map[string]jobs.Digest{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		files[path] = jobs.DigestOf(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestStateFolders starts daemons on folders that are not theirs to use.
func TestStateFolders(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always)
	for _, d := range []*daemon{g.coordinator, g.agents[0]} {
		g.exits(1, d.program, "run", "--state", d.state, "--listen", "127.0.0.1:0").
			says(t, "is in use by another process", "hint: each agent and coordinator needs a state folder of its own")
		if a := d.addresses(); a.PID != d.cmd.Process.Pid {
			t.Errorf("%s: addresses.json is of %d now", d.name, a.PID)
		}
	}
	g.exits(1, "gridagent", "run", "--state", g.path("nowhere")).says(t, "has not joined a grid", "hint: run `gridagent join")
	g.exits(1, "gridcoordinator", "run", "--state", g.path("nowhere")).says(t, "hint: make a grid first: gridcoordinator init")
	g.exits(1, "gridcoordinator", "init", "--state", g.coordinator.state).says(t, "already", "hint: ")
	g.exits(1, "gridcoordinator", "token", "--state", g.path("nowhere")).says(t, "hint: run this where")
	if _, err := os.Stat(g.path("nowhere")); err == nil {
		t.Error("a folder was made by a command that failed")
	}
	g.exits(2, "gridcoordinator", "token", "--state", g.coordinator.state).says(t, "an agent without a class", "hint: name one of")
	g.exits(2, "gridcoordinator", "token", "--state", g.coordinator.state, "--role", "king").says(t, `"king" is no role`)
}

// TestDamagedFolders starts an agent on state folders in which one thing is wrong. It says what, and what to do,
// and changes nothing.
func TestDamagedFolders(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always)
	sound := g.agents[0]
	sound.stop()
	const junk = "this was something else once"
	for _, c := range []struct {
		file string
		bad  func(path string) error
		says []string
	}{
		{"key.pem", overwrite(junk), []string{"read key.pem in ", "hint: restore it from a copy, or join the grid again"}},
		{"key.pem", os.Remove, []string{"no key.pem in ", "hint: run `gridagent join"}},
		{"key.pem", open, []string{"is open to other users", "hint: chmod 600"}},
		{"chain.pem", overwrite(junk), []string{"read chain.pem in ", "hint: restore it from a copy, or join the grid again"}},
		{"grid.json", overwrite(junk), []string{"read grid.json in ", "hint: restore it from a copy, or join the grid again"}},
		{"peers.json", overwrite(junk), []string{"read peers.json in ", "hint: remove it"}},
		{"records.db", overwrite(strings.Repeat(junk, 1000)), []string{"records.db is damaged", "hint: move it away and start again"}},
		{"records.db", func(path string) error { return os.Truncate(path, 3<<12) }, []string{"records.db is damaged", "hint: move it away and start again"}},
		{"records.db", folder, []string{"is a directory", "hint: the state folder must be one that this user may write to"}},
		{"blobs", overwrite(junk), []string{"not a directory", "hint: the state folder must be one that this user may write to"}},
		{"", overwrite(junk), []string{"not a directory", "hint: name the state folder"}},
	} {
		if runtime.GOOS == "windows" && strings.HasPrefix(c.says[0], "is ") {
			continue // where permissions and messages are others
		}
		dir := filepath.Join(t.TempDir(), "agent")
		if err := errors.Join(os.CopyFS(dir, os.DirFS(sound.state)), os.Chmod(filepath.Join(dir, "key.pem"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := c.bad(filepath.Join(dir, c.file)); err != nil {
			t.Fatal(err)
		}
		before := fingerprint(t, dir)
		g.exits(1, "gridagent", "run", "--state", dir, "--listen", "127.0.0.1:0").says(t, c.says...)
		after := fingerprint(t, dir)
		if c.file == "grid.json" || c.file == "peers.json" || c.file == "blobs" { // found after the start was counted
			delete(before, filepath.Join(dir, "records.db"))
			delete(after, filepath.Join(dir, "records.db"))
		}
		if !maps.Equal(before, after) {
			t.Errorf("%s: the folder was changed: %v, before: %v", c.file, after, before)
		}
	}
	g.exits(1, "gridagent", "join", "--state", filepath.Join(sound.state, "key.pem"), g.token("--class", always)).
		says(t, "make state folder", "hint: name a folder that you may write to")
	sound.start()
}

// overwrite returns what puts a file with other content in place of what is at a path.
func overwrite(content string) func(string) error {
	return func(path string) error {
		return errors.Join(os.RemoveAll(path), os.WriteFile(path, []byte(content), 0o600))
	}
}

func open(path string) error { return os.Chmod(path, 0o644) }

func folder(path string) error { return errors.Join(os.RemoveAll(path), os.Mkdir(path, 0o700)) }

// TestPortTaken starts daemons on ports of which the TCP or the UDP half is another program's.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	g := newGrid(t, always)
	g.agents[0].stop()
	g.coordinator.stop()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for _, address := range []net.Addr{tcp.Addr(), udp.LocalAddr()} {
		for _, d := range []*daemon{g.coordinator, g.agents[0]} {
			before := fingerprint(t, d.state)
			g.exits(1, d.program, "run", "--state", d.state, "--listen", address.String()).
				says(t, address.Network()+" "+address.String(), "address already in use", "hint: another program may have the port; name another with --listen")
			if after := fingerprint(t, d.state); !maps.Equal(before, after) {
				t.Errorf("%s: the folder was changed: %v, before: %v", d.name, after, before)
			}
		}
	}
}
