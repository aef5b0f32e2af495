package executor_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"idlegrid/agent/executor"
	"idlegrid/jobs"
)

// stat is what /proc tells of a process or thread.
type stat struct {
	state        string
	ppid         int
	nice, policy int
	userTicks    int
}

func readStat(path string) (stat, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return stat{}, false
	}
	// The name, in brackets, may hold anything; what follows is numbered from the third field on.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	number := func(field int) int {
		n, _ := strconv.Atoi(fields[field-3])
		return n
	}
	return stat{state: fields[0], ppid: number(4), userTicks: number(14), nice: number(19), policy: number(41)}, true
}

// childOf returns the ID of the one child process of a process.
func childOf(t *testing.T, parent int) int {
	t.Helper()
	child := 0
	eventually(t, "the process has a child", func() bool {
		paths, err := filepath.Glob("/proc/[0-9]*/stat")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			if s, ok := readStat(path); ok && s.ppid == parent && s.state != "Z" {
				child, _ = strconv.Atoi(filepath.Base(filepath.Dir(path)))
				cmdline, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
				return strings.HasPrefix(string(cmdline), "idlegrid-executor")
			}
		}
		return false
	})
	return child
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// TestCrash kills the child in the middle of a unit.
func TestCrash(t *testing.T) {
	p, guest := newPool(t, 1), goGuest(t)
	guest.Stdin = filepath.Join(t.TempDir(), "pipe")
	if err := errors.Join(syscall.Mkfifo(guest.Stdin, 0o600), p.Prepare(t.Context(), guest)); err != nil {
		t.Fatal(err)
	}
	killed := make(chan error)
	go func() {
		pipe, err := os.OpenFile(guest.Stdin, os.O_WRONLY, 0)
		if err == nil {
			// The guest reads only after it has spoken, and this is more than the pipe holds.
			_, err = io.CopyN(pipe, zeros{}, 1<<20)
			err = errors.Join(err, syscall.Kill(childOf(t, os.Getpid()), syscall.SIGKILL), pipe.Close())
		}
		killed <- err
	}()
	r := mustRun(t, p, guest, unit("sayread"))
	if err := <-killed; err != nil {
		t.Fatal(err)
	}
	if r.Failure.Kind != jobs.FailureCrash || !strings.Contains(r.Failure.Text, "signal: killed") {
		t.Errorf("failure %v, expected a crash by a signal", r.Failure)
	}
	if string(r.Outcome.Stdout) != "to stdout\n" || string(r.Outcome.Stderr) != "to stderr\n" {
		t.Errorf("kept %q and %q", r.Outcome.Stdout, r.Outcome.Stderr)
	}
	succeed(t, p, goGuest(t), unit("echo"))
}

// TestIdleChildDies checks that a child that died between two units is no fault of the second.
func TestIdleChildDies(t *testing.T) {
	p, noop := newPool(t, 1), program(t, module{pages: 1}.bytes())
	succeed(t, p, noop, unit())
	pid := p.Pids()[0]
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child is gone", func() bool { return gone(pid) })
	eventually(t, "the pool knows", func() bool { return !p.Usable() })
	succeed(t, p, noop, unit())
}

// TestFrozenChildDies: that a frozen child is killed from outside is a crash of its unit, as ever, and no fault of Allow's.
func TestFrozenChildDies(t *testing.T) {
	yields(t, 1, func(t *testing.T, p *executor.Pool) {
		g := goes(t, p, goGuest(t), unit("spin"))
		eventually(t, "it runs", g.runs)
		mustAllow(t, p, 0)
		if err := syscall.Kill(childOf(t, os.Getpid()), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			mustAllow(t, p, 1)
			mustAllow(t, p, 0)
		}
		g.mustEnd(t, nil)
		if g.res.Failure.Kind != jobs.FailureCrash {
			t.Errorf("failure %v, expected a crash", g.res.Failure)
		}
		mustAllow(t, p, 1)
		succeed(t, p, goGuest(t), unit("echo"))
	})
}

// TestSignals sends a child what a service manager or a terminal sends to everybody.
func TestSignals(t *testing.T) {
	p, noop := newPool(t, 1), program(t, module{pages: 1}.bytes())
	succeed(t, p, noop, unit())
	before := p.Pids()[0]
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if err := syscall.Kill(before, s); err != nil {
			t.Fatal(err)
		}
	}
	succeed(t, p, noop, unit())
	if after := p.Pids()[0]; after != before {
		t.Errorf("child %d was replaced by %d", before, after)
	}
}

func gone(pid int) bool {
	s, ok := readStat(fmt.Sprintf("/proc/%d/stat", pid))
	return !ok || s.state == "Z"
}

// TestParentDies kills the parent of a child whose guest computes.
func TestParentDies(t *testing.T) {
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), parentMark+"="+cacheDir())
	parent.Stderr = os.Stderr
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	child := 0
	eventually(t, "the guest computes", func() bool {
		child = childOf(t, parent.Process.Pid)
		s, ok := readStat(fmt.Sprintf("/proc/%d/stat", child))
		return ok && s.userTicks > 10
	})
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // it was killed
	eventually(t, "the child is gone", func() bool { return gone(child) })
}

// TestPriority looks at the threads of a child.
func TestPriority(t *testing.T) {
	const other, idle = 0, 5 // SCHED_OTHER, SCHED_IDLE
	before, noGroups := os.ReadFile("/proc/self/autogroup")
	for _, background := range []bool{false, true} {
		p := executor.NewPool(executor.Options{Slots: 1, Cache: cacheDir(), Background: background})
		defer p.Close()
		succeed(t, p, goGuest(t), unit("echo"))
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.Pids()[0]))
		if err != nil || len(threads) == 0 {
			t.Fatalf("threads %v: %v", threads, err)
		}
		type priority struct{ nice, policy int }
		want := map[bool]priority{false: {5, other}, true: {19, idle}}[background]
		for _, path := range threads {
			if s, ok := readStat(path); ok && (s.nice != want.nice || s.policy != want.policy) {
				t.Errorf("background %v: %s has nice %d and policy %d, expected %+v", background, path, s.nice, s.policy, want)
			}
		}
		if noGroups == nil {
			eventually(t, "the child's session has its niceness", func() bool {
				group, err := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", p.Pids()[0]))
				return err == nil && strings.HasSuffix(string(group), fmt.Sprintf(" nice %d\n", want.nice))
			})
		}
	}
	if after, err := os.ReadFile("/proc/self/autogroup"); string(after) != string(before) {
		t.Errorf("the parent's session has %q, and had %q: %v", after, before, err)
	}
	if s, _ := readStat("/proc/self/stat"); s.policy != other {
		t.Errorf("the parent has policy %d", s.policy)
	}
}

// TestEnvironmentOfChild checks that a child starts with nothing of its parent's environment.
func TestEnvironmentOfChild(t *testing.T) {
	t.Setenv("EXECUTOR_TEST_SECRET", "x")
	p, noop := newPool(t, 1), program(t, module{pages: 1}.bytes())
	succeed(t, p, noop, unit())
	proc := fmt.Sprintf("/proc/%d", p.Pids()[0])
	environ, err := os.ReadFile(proc + "/environ")
	if err != nil || string(environ) != "IDLEGRID_EXECUTOR=low\x00" {
		t.Errorf("the environment is %q, %v", environ, err)
	}
}
