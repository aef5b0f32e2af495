package ctl_test

import (
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity"
	"idlegrid/agent/peer/node"
	"idlegrid/coordinator/internal/ctl"
)

// TestGridScripts runs the scripts that need a grid, all of them the same one. Each is a submitter of its own,
// with $TOKEN and $SECOND_TOKEN to log in, $OPERATOR_TOKEN to log in as the operator, and $AGENT_TOKEN and
// $EXPIRED_TOKEN that are of no use.
func TestGridScripts(t *testing.T) {
	notShort(t)
	testscript.Run(t, gridParams(t, ctl.NewGrid(t), testscript.Params{Dir: filepath.Join("testdata", "grid")}))
}

// TestScriptsWithAGridEach runs the scripts that change the grid, such as by stopping the coordinator.
func TestScriptsWithAGridEach(t *testing.T) {
	notShort(t)
	files, err := filepath.Glob(filepath.Join("testdata", "alone", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			testscript.Run(t, gridParams(t, ctl.NewGrid(t), testscript.Params{Files: []string{file}}))
		})
	}
}

// TestEmptyGrid runs the scripts in which no agent is there.
func TestEmptyGrid(t *testing.T) {
	notShort(t)
	testscript.Run(t, gridParams(t, ctl.NewEmptyGrid(t), testscript.Params{Dir: filepath.Join("testdata", "empty")}))
}

func gridParams(t *testing.T, grid *ctl.OneGrid, p testscript.Params) testscript.Params {
	t.Helper()
	dir := t.TempDir()
	for name, module := range modules {
		writeFile(t, filepath.Join(dir, name), module)
	}
	writeFile(t, filepath.Join(dir, "speak.wasm"), speaker("to standard output \x1b[31m\n", "to standard error\n", ""))
	writeFile(t, filepath.Join(dir, "fail.wasm"), speaker("half a result\n", "oh no\n", "\x00"))
	writeFile(t, filepath.Join(dir, "slow.wasm"), slow)
	writeFile(t, filepath.Join(dir, "large.bin"), strings.Repeat("large ", 1<<18))
	submitter := identity.Grant{Role: peer.Submitter}
	p.RequireExplicitExec, p.RequireUniqueNames = true, true
	p.Cmds = map[string]func(*testscript.TestScript, bool, []string){
		"setenv": setenv, "coordinator": coordinatorCommand(grid), "deadpeers": deadPeers, "until": until,
		"forget": func(ts *testscript.TestScript, _ bool, _ []string) { ts.Check(grid.Forget()) },
	}
	p.Setup = func(env *testscript.Env) error {
		env.Setenv("WASM", dir)
		env.Setenv("GRID_CONFIG", filepath.Join(env.WorkDir, "login"))
		for _, name := range []string{"HOME", "XDG_CACHE_HOME", "LocalAppData"} {
			env.Setenv(name, dir)
		}
		env.Setenv("TOKEN", grid.Token(submitter, time.Hour))
		env.Setenv("SECOND_TOKEN", grid.Token(submitter, time.Hour))
		env.Setenv("OPERATOR_TOKEN", grid.Token(identity.Grant{Role: peer.Operator}, time.Hour))
		env.Setenv("AGENT_TOKEN", grid.Token(identity.Grant{Role: peer.Agent, Class: peer.Office}, time.Hour))
		env.Setenv("EXPIRED_TOKEN", grid.Token(submitter, time.Millisecond))
		return nil
	}
	return p
}

// setenv sets a variable to what the last command printed: setenv NAME.
func setenv(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: setenv NAME")
	}
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
}

// until runs a command again and again until it prints a text: until TEXT COMMAND.
func until(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: until TEXT COMMAND")
	}
	tick := time.NewTicker(300 * time.Millisecond)
	defer tick.Stop()
	for {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		<-tick.C
	}
}

// coordinatorCommand is the command that stops and starts the coordinator: coordinator stop|start.
func coordinatorCommand(grid *ctl.OneGrid) func(*testscript.TestScript, bool, []string) {
	return func(ts *testscript.TestScript, neg bool, args []string) {
		switch {
		case !neg && slices.Equal(args, []string{"stop"}):
			ts.Check(grid.StopCoordinator())
		case !neg && slices.Equal(args, []string{"start"}):
			ts.Check(grid.StartCoordinator())
		default:
			ts.Fatalf("usage: coordinator stop|start")
		}
	}
}

// deadPeers puts addresses before those that gridctl keeps at which nobody listens, and one at which somebody
// listens who never says a word: deadpeers.
func deadPeers(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: deadpeers")
	}
	dir, err := os.OpenRoot(ts.Getenv("GRID_CONFIG"))
	ts.Check(err)
	defer dir.Close() // What was written is closed already.
	peers, err := node.LoadPeers(dir)
	ts.Check(err)
	var dead []string
	for i := range 8 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		ts.Check(err)
		dead = append(dead, l.Addr().String())
		if i%4 == 0 {
			ts.Defer(func() { _ = l.Close() }) // nothing is written
			continue
		}
		ts.Check(l.Close())
	}
	ts.Check(node.SavePeers(dir, append(dead, peers...)))
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// slow is a program that counts to 300 million, for a tenth of a second or more.
const slow = wasmHead + "\x03\x02\x01\x00" + wasmMemory + "\x07\x13\x02\x06_start\x00\x00\x06memory\x02\x00" +
	"\x0a\x1d\x01\x1b\x01\x01\x7e\x42\x80\xc6\x86\x8f\x01\x21\x00\x03\x40\x20\x00\x42\x01\x7d\x22\x00\x42\x00\x52\x0d\x00\x0b\x0b"

// speaker makes a program that writes both texts, of less than 64 bytes together, and then goes on with code.
func speaker(stdout, stderr, code string) string {
	section := func(id byte, content string) string { return string([]byte{id, byte(len(content))}) + content }
	iovec := func(offset int, text string) string {
		b := binary.LittleEndian.AppendUint32(nil, uint32(offset))
		return string(binary.LittleEndian.AppendUint32(b, uint32(len(text)))) + strings.Repeat("\x00", 8)
	}
	write := func(fd, vec string) string { return "\x41" + fd + "\x41" + vec + "\x41\x01\x41\x08\x10\x00\x1a" }
	body := "\x00" + write("\x01", "\x00") + write("\x02", "\x10") + code + "\x0b"
	const text = 32
	data := iovec(text, stdout) + iovec(text+len(stdout), stderr) + stdout + stderr
	return "\x00asm\x01\x00\x00\x00" +
		section(1, "\x02\x60\x00\x00\x60\x04\x7f\x7f\x7f\x7f\x01\x7f") +
		section(2, "\x01\x16wasi_snapshot_preview1\x08fd_write\x00\x01") +
		section(3, "\x01\x00") +
		wasmMemory + wasmExports("\x01") +
		section(10, "\x01"+string([]byte{byte(len(body))})+body) +
		section(11, "\x01\x00\x41\x00\x0b"+string([]byte{byte(len(data))})+data)
}
