package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/registry"
	"golang.org/x/sys/windows/svc"

	"idlegrid/jobs"
)

// serveMark makes this test a service that does what its first argument says.
const serveMark = "service-of-a-test"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == ServeVerb {
		os.Exit(serveTest())
	}
	os.Exit(m.Run())
}

// serveTest is a daemon: it says that it runs, and ends when it is told to, or at once by an error.
func serveTest() int {
	state, fails := os.Args[3], len(os.Args) > 4 && os.Args[4] == "fail"
	err := Serve(context.Background(), testService("", state), func(ctx context.Context) error {
		if fails {
			return errors.New("no reason")
		}
		return Announce(ctx, func(ctx context.Context) error {
			fmt.Fprintln(os.Stderr, "it runs")
			<-ctx.Done()
			return nil
		})
	})
	if err != nil {
		return 1
	}
	return 0
}

func testService(program, state string, args ...string) Service {
	return Service{
		Name: serveMark, Display: "Idle grid test", Description: "A test", Program: program, State: state, Args: args, Helper: "helper",
	}
}

// TestServiceOfWindows installs, starts, stops and removes a service.
func TestServiceOfWindows(t *testing.T) {
	if os.Getenv("GRID_SERVICE") == "" {
		t.Skip("SKIPPED: set GRID_SERVICE=1 to install a service on this machine, as administrator")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	state, err := os.MkdirTemp("", serveMark)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(state)
	s := testService(program, state)
	var out bytes.Buffer
	if err := s.Install(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
	for _, step := range []func(context.Context) error{s.Start, s.Stop, s.Stop, s.Start} { // twice is harmless
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(filepath.Join(state, serveMark+".log"))
	if err != nil || !strings.Contains(string(text), "it runs") {
		t.Errorf("the log says %q, %v", text, err)
	}
	if got, want := helperOf(t), windows.ComposeCommandLine([]string{program, "helper", "--state", state}); got != want {
		t.Errorf("each session starts %q, expected %q", got, want)
	}
	// Once more, with a command line that fails.
	if err := testService(program, state, "fail").Install(t.Context(), &out); jobs.KindOf(err) != jobs.Unavailable {
		t.Errorf("a service that fails was installed: %v", err)
	}
	if err := s.Uninstall(t.Context(), &out); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); jobs.KindOf(err) != jobs.NotFound {
		t.Errorf("started what was removed: %v", err)
	}
	if got := helperOf(t); got != "" {
		t.Errorf("each session starts %q still", got)
	}
}

// helperOf returns what each session starts for the test's service; empty: nothing.
func helperOf(t *testing.T) string {
	t.Helper()
	key, err := registry.OpenKey(registry.LOCAL_MACHINE, runKey, registry.QUERY_VALUE)
	if err != nil {
		t.Fatal(err)
	}
	defer key.Close()
	line, _, err := key.GetStringValue(testService("", "").helperName())
	if err != nil && !errors.Is(err, registry.ErrNotExist) {
		t.Fatal(err)
	}
	return line
}

// TestExecute plays the service manager: what it says comes to the daemon.
func TestExecute(t *testing.T) {
	told := make(chan Event)
	m := &manager{
		parent: t.Context(), ready: make(chan struct{}), events: make(chan Event, maxEvents),
		run: func(ctx context.Context) error {
			return Announce(ctx, func(ctx context.Context) error {
				return Watch(ctx, slog.New(slog.DiscardHandler), func(e Event) { told <- e })
			})
		},
	}
	requests, status := make(chan svc.ChangeRequest), make(chan svc.Status)
	code := make(chan uint32, 1)
	go func() {
		_, c := m.Execute(nil, requests, status)
		code <- c
	}()
	for _, want := range []svc.State{svc.StartPending, svc.Running} {
		if got := receive(t, status); got.State != want {
			t.Fatalf("state %d, expected %d", got.State, want)
		}
	}
	for _, one := range []struct {
		request svc.ChangeRequest
		want    Event
	}{
		{svc.ChangeRequest{Cmd: svc.PowerEvent, EventType: pbtSuspend}, Suspend},
		{svc.ChangeRequest{Cmd: svc.PowerEvent, EventType: pbtResumeAutomatic}, Resume},
		{svc.ChangeRequest{Cmd: svc.SessionChange}, SessionChange},
	} {
		requests <- one.request
		if got := receive(t, told); got != one.want {
			t.Errorf("told %s, expected %s", got, one.want)
		}
	}
	requests <- svc.ChangeRequest{Cmd: svc.PreShutdown}
	if got := receive(t, status); got.State != svc.StopPending {
		t.Fatalf("state %d after a shutdown", got.State)
	}
	// The daemon is told of the shutdown, or has ended before.
	select {
	case e := <-told:
		if e != Shutdown {
			t.Errorf("told %s", e)
		}
		if c := receive(t, code); c != 0 {
			t.Errorf("exit code %d", c)
		}
	case c := <-code:
		if c != 0 {
			t.Errorf("exit code %d", c)
		}
	}
}

func TestWatchByHand(t *testing.T) {
	if err := Watch(t.Context(), slog.New(slog.DiscardHandler), nil); jobs.KindOf(err) != jobs.Unsupported {
		t.Errorf("got %v", err)
	}
}
