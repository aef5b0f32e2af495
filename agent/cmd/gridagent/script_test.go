package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"idlegrid/agent/internal/harvest"
	"idlegrid/agent/internal/harvest/policy"
	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/agent/internal/local"
	"idlegrid/agent/internal/owner"
	"idlegrid/agent/peer"
	"idlegrid/agent/peer/identity/identitytest"
	"idlegrid/agent/peer/node"
	"idlegrid/jobs"
	"idlegrid/jobs/manifest"
	gridv1 "idlegrid/proto/grid/v1"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"gridagent": main, "exits": exits, "owneragent": ownerAgent})
}

// exits is gridagent that must end with an exit code: exits 3 status.
func exits() {
	want := os.Args[1]
	os.Args = append([]string{"gridagent"}, os.Args[2:]...)
	if code := run(); strconv.Itoa(code) != want {
		fmt.Fprintf(os.Stderr, "exit code %d, expected %s\n", code, want)
		os.Exit(1)
	}
}

// nobody is a machine that its owner left long ago.
type nobody struct{}

func (nobody) Changed() <-chan struct{} { return nil }

func (nobody) Observe(now time.Time) signals.Observation {
	return signals.Observation{
		Sessions: signals.Reading[[]signals.Session]{At: now}, Others: signals.Reading[float64]{At: now},
		Memory: signals.Reading[signals.Memory]{Value: signals.Memory{Total: 8 << 30, Available: 7 << 30}, At: now},
		Disk:   signals.Reading[float64]{At: now}, Power: signals.Reading[signals.Power]{None: true},
		Temperature: signals.Reading[float64]{None: true}, Presenting: signals.Reading[bool]{At: now},
		Programs: signals.Reading[[]string]{At: now}, Metered: signals.Reading[bool]{At: now},
	}
}

// ownerAgent is the part of an agent that its owner speaks with, on a state folder, until it is killed. A second
// argument is the file of the machine's policy.
func ownerAgent() {
	if err := serveOwner(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serveOwner(state string, machine []string) error {
	log := slog.New(slog.DiscardHandler)
	dir, err := os.OpenRoot(state)
	if err != nil {
		return err
	}
	h, err := harvest.New(harvest.Options{
		Signals: nobody{}, Policy: policy.Open(policy.Paths{Machine: machine, Owner: filepath.Join(state, policy.OwnerFile)}),
		State: dir, Cores: 4, Machine: 4, Apply: func(harvest.Decision) error { return nil }, Log: log,
	})
	if err != nil {
		return err
	}
	past, err := owner.OpenHistory(state, log)
	if err != nil {
		return err
	}
	past.Ran(owner.Ran{
		Job: jobs.JobID{0xab}, Manifest: &manifest.Manifest{Name: "tour"}, Owner: "anna", Units: 3, Failed: 1,
		CPU: 90 * time.Second, Memory: 64 << 20, In: 2048, Out: 512,
	})
	o := owner.New(owner.Options{
		Grid: "testgrid", Class: peer.Office, Cores: 4, Harvest: h, History: past,
		Work: func(_ context.Context, to *gridv1.AgentStatus) {
			to.Running = []*gridv1.RunningUnit{{Job: make([]byte, 32), Name: "tour", Submitter: make([]byte, 32), Owner: "anna", SinceMs: time.Now().UnixMilli()}}
		},
	})
	l, err := local.Listen(local.DefaultPath(state))
	if err != nil {
		return err
	}
	server := local.NewServer(log)
	gridv1.RegisterOwnerServer(server, owner.NewServer(o, func() string { return "http://127.0.0.1:1/?ticket=x" }))
	go h.Run(context.Background())
	return server.Serve(l)
}

// TestScripts runs the program where no agent runs. The scripts have the state folder "joined", of an office
// agent.
func TestScripts(t *testing.T) {
	grid := identitytest.NewGrid(t)
	testscript.Run(t, testscript.Params{
		Dir:         "testdata/script",
		WorkdirRoot: shortDir(t),
		Cmds:        map[string]func(*testscript.TestScript, bool, []string){"await": await},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return os.Geteuid() == 0, nil
		},
		Setup: func(env *testscript.Env) error {
			joined := env.WorkDir + "/joined"
			if err := os.Mkdir(joined, 0o700); err != nil {
				return err
			}
			dir, err := os.OpenRoot(joined)
			if err != nil {
				return err
			}
			id := grid.Agent()
			env.Setenv("ID", id.ID().String())
			env.Setenv("SHORT", id.ID().Short())
			return errors.Join(id.Save(dir), node.SaveGrid(dir, node.Grid{}), dir.Close())
		},
	})
}

// shortDir is a folder whose sockets' paths systems take.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ga")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// await waits until somebody listens on the socket of a state folder: await joined.
func await(ts *testscript.TestScript, _ bool, args []string) {
	path := local.DefaultPath(ts.MkAbs(args[0]))
	deadline := time.After(20 * time.Second)
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		if _, err := os.Stat(path); err == nil {
			return
		}
		select {
		case <-deadline:
			ts.Fatalf("nobody listens at %s", path)
		case <-ticker.C:
		}
	}
}

func TestPauseOf(t *testing.T) {
	now := time.Date(2026, 11, 26, 14, 30, 0, 0, time.Local)
	at := func(day, hour, minute int) *gridv1.PauseRequest {
		return &gridv1.PauseRequest{UntilMs: time.Date(2026, 11, day, hour, minute, 0, 0, time.Local).UnixMilli()}
	}
	for _, c := range []struct {
		words []string
		want  *gridv1.PauseRequest // nil: refused
	}{
		{nil, &gridv1.PauseRequest{}},
		{[]string{"1h"}, &gridv1.PauseRequest{ForMs: 3600_000}},
		{[]string{"1h30m"}, &gridv1.PauseRequest{ForMs: 5400_000}},
		{[]string{"until", "tomorrow"}, at(27, 6, 0)},
		{[]string{"until", "14:31"}, at(26, 14, 31)},
		{[]string{"until", "14:30"}, at(27, 14, 30)},
		{[]string{"until", "9:05"}, at(27, 9, 5)},
		{[]string{"until", "25:00"}, nil},
		{[]string{"until"}, nil},
		{[]string{"for", "1h"}, nil},
		{[]string{"tomorrow"}, nil},
		{[]string{"-1h"}, nil},
		{[]string{"0s"}, nil},
		{[]string{"1ms"}, nil},
		{[]string{""}, nil},
	} {
		got, err := pauseOf(c.words, now)
		if c.want == nil && jobs.KindOf(err) != jobs.Invalid || c.want != nil && (err != nil || !reflect.DeepEqual(got, c.want)) {
			t.Errorf("%q: %v, %v, expected %v", c.words, got, err, c.want)
		}
	}
}
