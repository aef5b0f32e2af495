package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"idlegrid/coordinator/internal/admission"
)

const (
	// patience is how long a test may take where nothing else is said. It is no measure of anything.
	patience = 8 * time.Minute
	// look is how often a test asks whether what it waits for is there.
	look = 50 * time.Millisecond
	// logTail bounds what a test that failed shows of each daemon's log, in bytes.
	logTail = 16 << 10

	// promisedStop is what a daemon may take to end.
	promisedStop = 5 * time.Second

	// unseen is why an agent does not work that cannot see its owner.
	unseen = "Paused: cannot see: who is logged in"

	always = "always-on"
	office = "office"
	alice  = "alice"
)

// grid is a coordinator, its agents and a submitter who is logged in, in a folder that the test removes.
type grid struct {
	t           testing.TB
	ctx         context.Context // ends before go test would, so that the daemons end too
	dir         string
	submitter   string // the folder of gridctl's login
	coordinator *daemon
	agents      []*daemon
}

// newGrid starts a grid with an agent of each class, and waits until all of them may keep records.
func newGrid(t testing.TB, classes ...string) *grid {
	t.Helper()
	return patientGrid(t, patience, classes...)
}

// patientGrid is newGrid for a test that may take so long.
func patientGrid(t testing.TB, patience time.Duration, classes ...string) *grid {
	t.Helper()
	g := emptyGrid(t, patience)
	g.coordinator.start()
	g.must("gridctl", "login", g.token("--role", "submitter", "--owner", alice))
	for _, class := range classes {
		g.addAgent(class)
	}
	g.awaitEligible(len(classes))
	return g
}

// emptyGrid makes a grid of which nothing runs yet.
func emptyGrid(t testing.TB, patience time.Duration) *grid {
	t.Helper()
	end := time.Now().Add(patience)
	if tt, ok := t.(*testing.T); ok {
		if d, ok := tt.Deadline(); ok && d.Add(-10*time.Second).Before(end) {
			end = d.Add(-10 * time.Second)
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), end)
	t.Cleanup(cancel)
	g := &grid{t: t, ctx: ctx, dir: t.TempDir(), submitter: alice}
	g.coordinator = g.daemon("gridcoordinator", "coordinator")
	g.must("gridcoordinator", "init", "--state", g.coordinator.state)
	// 200 kills take more jobs than one person has at a time.
	if err := os.WriteFile(filepath.Join(g.coordinator.state, admission.ConfigFile), []byte("max_jobs_per_submitter: 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// addAgent joins and starts an agent, with one slot and short leases if no flags are given.
func (g *grid) addAgent(class string, flags ...string) {
	g.t.Helper()
	if len(flags) == 0 {
		// Short leases: what a dead agent held is lent again soon.
		flags = []string{"--cores", "1", "--lease-period", "2s", "--lease-ttl", "10s"}
	}
	if class != always { // whoever may sit here is not to be seen
		flags = append(flags, "--signals-bus", "unix:path="+g.path("none"))
	}
	a := g.daemon("gridagent", "agent"+strconv.Itoa(len(g.agents)+1), flags...)
	g.must("gridagent", "join", "--state", a.state, g.token("--class", class))
	a.start()
	g.agents = append(g.agents, a)
}

func (g *grid) token(args ...string) string {
	g.t.Helper()
	out := g.must("gridcoordinator", append([]string{"token", "--state", g.coordinator.state}, args...)...)
	return strings.TrimSpace(out.stdout)
}

// path returns the path of a file in the grid's folder.
func (g *grid) path(parts ...string) string {
	return filepath.Join(append([]string{g.dir}, parts...)...)
}

// output is what a command wrote and how it ended.
type output struct {
	stdout, stderr string
	code           int
}

// run runs one of the programs to its end. gridctl is the submitter's.
func (g *grid) run(name string, args ...string) output {
	g.t.Helper()
	cmd := exec.CommandContext(g.ctx, program(name), args...)
	cmd.Dir = g.dir
	cmd.Env = append(os.Environ(), "GRID_CONFIG="+g.path(g.submitter), "XDG_CACHE_HOME="+g.path("cache"))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if g.ctx.Err() != nil {
		g.t.Fatalf("%s %v: the test's time is up\n%s", name, args, stderr.String())
	}
	if ended := (*exec.ExitError)(nil); err != nil && !errors.As(err, &ended) {
		g.t.Fatal(err)
	}
	return output{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a command that has to succeed.
func (g *grid) must(name string, args ...string) output {
	g.t.Helper()
	return g.exits(0, name, args...)
}

// exits runs a command that has to end with an exit code.
func (g *grid) exits(code int, name string, args ...string) output {
	g.t.Helper()
	out := g.run(name, args...)
	if out.code != code {
		g.t.Fatalf("%s %v: exit code %d, expected %d\nstdout: %s\nstderr: %s", name, args, out.code, code, out.stdout, out.stderr)
	}
	return out
}

// says fails the test unless standard error has all the texts.
func (o output) says(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(o.stderr, text) {
			t.Errorf("standard error lacks %q:\n%s", text, o.stderr)
		}
	}
}

// until asks for something until it is so.
func (g *grid) until(what string, so func() bool) {
	g.t.Helper()
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for !so() {
		select {
		case <-g.ctx.Done():
			g.t.Fatalf("the test's time is up, waiting until %s", what)
		case <-ticker.C:
		}
	}
}

// daemon is a coordinator or an agent. It may be started again after it ended.
type daemon struct {
	g       *grid
	program string
	name    string
	state   string
	flags   []string
	env     []string // beside the test's own
	// on moves the daemon's process to another host; nil: it stays.
	on func(*exec.Cmd) error

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has ended
}

func (g *grid) daemon(program, name string, flags ...string) *daemon {
	d := &daemon{g: g, program: program, name: name, state: g.path(name), flags: flags}
	g.t.Cleanup(func() {
		d.kill()
		if g.t.Failed() {
			text := d.log()
			g.t.Logf("the log of %s:\n%s", d.name, text[max(0, len(text)-logTail):])
		}
	})
	return d
}

// start runs the daemon until it says where it listens.
func (d *daemon) start() {
	d.g.t.Helper()
	d.launch()
	d.g.until(d.name+" listens", func() bool {
		if d.hasEnded() {
			d.g.t.Fatalf("%s does not start", d.name)
		}
		return d.listens()
	})
}

// listens reports whether the daemon that was launched last has said where it listens.
func (d *daemon) listens() bool { return d.addresses().PID == d.cmd.Process.Pid }

// launch starts the daemon's process.
func (d *daemon) launch() {
	d.g.t.Helper()
	log, err := os.OpenFile(d.logPath(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		d.g.t.Fatal(err)
	}
	defer log.Close() // The process has a copy.
	args := append([]string{"run", "--state", d.state, "--listen", "127.0.0.1:0"}, d.flags...)
	cmd, ended := exec.Command(program(d.program), args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), d.env...)
	if d.on != nil {
		if err := d.on(cmd); err != nil {
			d.g.t.Fatal(err)
		}
	}
	if err := cmd.Start(); err != nil {
		d.g.t.Fatal(err)
	}
	go func() {
		defer close(ended)
		_ = cmd.Wait() // stop looks at the state; a process that was killed always gives an error.
	}()
	d.cmd, d.ended = cmd, ended
}

// addresses returns what the daemon says of itself; nothing when it does not run.
func (d *daemon) addresses() (a struct {
	Grid    string
	Metrics string
	ID      string
	PID     int
},
) {
	text, err := os.ReadFile(filepath.Join(d.state, "addresses.json"))
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.g.t.Error(err)
	}
	return a
}

// kill ends the daemon as a power cut would.
func (d *daemon) kill() {
	if d.cmd == nil {
		return
	}
	if err := d.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		d.g.t.Error(err)
	}
	<-d.ended
}

// hasEnded reports whether the process that was launched last has ended.
func (d *daemon) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// wasKilled reports whether the daemon, which has ended, ended by being killed.
func (d *daemon) wasKilled() bool {
	if runtime.GOOS == "windows" {
		return d.cmd.ProcessState.ExitCode() == 1 // what killing is there
	}
	return d.cmd.ProcessState.ExitCode() == -1
}

// stop asks the daemon to end, and returns how long that took.
func (d *daemon) stop() time.Duration {
	d.g.t.Helper()
	began := time.Now()
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		d.g.t.Fatal(err)
	}
	select {
	case <-d.ended:
	case <-d.g.ctx.Done():
		d.g.t.Fatalf("%s does not stop", d.name)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		d.g.t.Errorf("%s: exit code %d after SIGTERM", d.name, code)
	}
	return time.Since(began)
}

func (d *daemon) logPath() string { return d.g.path(d.name + ".log") }

func (d *daemon) log() string {
	text, err := os.ReadFile(d.logPath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.g.t.Error(err)
	}
	return string(text)
}
