package service

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

// busConfig is a bus on which everybody may do everything.
const busConfig = `<busconfig>
<type>session</type><listen>unix:path=%s</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy>
</busconfig>`

// newBus starts a bus and returns its address.
func newBus(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("dbus-daemon")
	if err != nil {
		t.Skip("SKIPPED: no dbus-daemon here (Debian: apt install dbus-daemon): sleep and shutdown are not tested")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, filepath.Join(dir, "bus")), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--config-file="+config, "--nofork", "--nopidfile", "--nosyslog", "--print-address")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// lock is a delay lock as logind has it: a pipe.
type lock struct {
	asked   string
	r, sent *os.File // sent is the end that was passed on, to be closed here when it has arrived
}

// held says whether the other side has the lock.
func (l lock) held(t *testing.T) bool {
	t.Helper()
	conn, err := l.r.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	var readErr error
	err = conn.Read(func(fd uintptr) bool {
		n, readErr = syscall.Read(int(fd), make([]byte, 1))
		return true
	})
	if err != nil || n > 0 {
		t.Fatal(n, err)
	}
	return readErr == syscall.EAGAIN
}

// awaitRelease waits until the other side let the lock go.
func (l lock) awaitRelease(t *testing.T) {
	t.Helper()
	l.sent.Close() // twice is harmless
	if err := l.r.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if n, err := l.r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Fatalf("the lock is held: %v", err)
	}
}

// logind is the part of logind that Watch talks to.
type logind struct {
	bus    *dbus.Conn
	refuse bool
	locks  chan lock
}

// Inhibit is called over the bus.
func (f *logind) Inhibit(what, who, _, mode string) (dbus.UnixFD, *dbus.Error) {
	if f.refuse {
		return -1, dbus.NewError("org.freedesktop.DBus.Error.AccessDenied", []any{"not you"})
	}
	r, w, err := os.Pipe()
	if err != nil {
		return -1, dbus.MakeFailedError(err)
	}
	fd := dbus.UnixFD(w.Fd()) // before the test gets it and may close it
	f.locks <- lock{asked: what + " " + who + " " + mode, r: r, sent: w}
	return fd, nil
}

// expectLocks returns the locks that were asked for: one each, because users may have no others.
func (f *logind) expectLocks(t *testing.T) []lock {
	t.Helper()
	locks := []lock{receive(t, f.locks), receive(t, f.locks)}
	if locks[0].asked != "sleep idlegrid delay" || locks[1].asked != "shutdown idlegrid delay" {
		t.Fatalf("asked for %s, %s", locks[0].asked, locks[1].asked)
	}
	return locks
}

func (f *logind) tell(t *testing.T, signal string, about bool) {
	t.Helper()
	if err := f.bus.Emit(loginPath, manager+"."+signal, about); err != nil {
		t.Fatal(err)
	}
}

func newLogind(t *testing.T, address string, refuse bool) *logind {
	t.Helper()
	bus, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { bus.Close() })
	f := &logind{bus: bus, refuse: refuse, locks: make(chan lock, 1000)}
	if err := bus.Export(f, loginPath, manager); err != nil {
		t.Fatal(err)
	}
	if reply, err := bus.RequestName(login, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		t.Fatal(reply, err)
	}
	return f
}

// watched is Watch on a bus. Its handler returns when the test lets it.
type watched struct {
	events  chan Event
	proceed chan struct{}
	cancel  context.CancelFunc
	done    chan struct{}
}

func watchOn(t *testing.T, address string) *watched {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	v := &watched{events: make(chan Event), proceed: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	w := &watch{
		log: slog.New(slog.NewTextHandler(t.Output(), nil)), again: time.Millisecond, late: patience,
		connect: func(ctx context.Context) (*dbus.Conn, error) { return dbus.Connect(address, dbus.WithContext(ctx)) },
		handle: func(e Event) {
			select {
			case v.events <- e:
				<-v.proceed
			case <-ctx.Done(): // one that was told again
			}
		},
	}
	go func() {
		defer close(v.done)
		w.keep(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		receive(t, v.done)
	})
	return v
}

func (v *watched) expect(t *testing.T, want Event) {
	t.Helper()
	if got := receive(t, v.events); got != want {
		t.Fatalf("got %s, expected %s", got, want)
	}
}

// TestWatch checks that the system waits before sleep and shutdown until the handler returned, each time.
func TestWatch(t *testing.T) {
	address := newBus(t)
	system := newLogind(t, address, false)
	v := watchOn(t, address)
	for _, one := range []struct {
		signal string
		about  Event
		over   Event // 0: nothing is told
	}{
		{"PrepareForSleep", Suspend, Resume},
		{"PrepareForSleep", Suspend, Resume},
		{"PrepareForShutdown", Shutdown, 0}, // called off
		{"PrepareForShutdown", Shutdown, 0},
	} {
		locks := system.expectLocks(t)
		system.tell(t, one.signal, true)
		v.expect(t, one.about)
		for _, l := range locks {
			l.sent.Close()
			if !l.held(t) {
				t.Fatal("the system goes on before the handler returned")
			}
		}
		v.proceed <- struct{}{}
		for _, l := range locks {
			l.awaitRelease(t)
		}
		system.tell(t, one.signal, false)
		if one.over != 0 {
			v.expect(t, one.over)
			v.proceed <- struct{}{}
		}
	}
	last := system.expectLocks(t)
	system.tell(t, "PrepareForSleep", true)
	v.expect(t, Suspend)
	v.cancel()
	v.proceed <- struct{}{}
	for _, l := range last {
		l.awaitRelease(t)
	}
}

// TestWatchEndsWhileItAsks checks that a lock is let go whose answer comes when nobody waits for it any more.
func TestWatchEndsWhileItAsks(t *testing.T) {
	address := newBus(t)
	system := newLogind(t, address, false)
	asked := make(chan *dbus.Message, 10)
	system.bus.Eavesdrop(asked)                     // so that the test answers
	t.Cleanup(func() { system.bus.Eavesdrop(nil) }) // a bus that is closed may use the channel after it closed it
	bus, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close()
	w := &watch{log: slog.New(slog.NewTextHandler(t.Output(), nil)), bus: bus, late: time.Millisecond}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.delay(ctx) }()
	call := receive(t, asked)
	cancel()
	if err := receive(t, done); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	w.release()
	r, sent, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	answer := system.bus.Send(&dbus.Message{
		Type: dbus.TypeMethodReply, Body: []any{dbus.UnixFD(sent.Fd())},
		Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldDestination: call.Headers[dbus.FieldSender], dbus.FieldReplySerial: dbus.MakeVariant(call.Serial()),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(dbus.UnixFD(0))),
		},
	}, nil)
	if answer.Err != nil {
		t.Fatal(answer.Err)
	}
	lock{r: r, sent: sent}.awaitRelease(t)
}

// TestWatchEndsAtAnyTime checks the same with whatever is under way.
func TestWatchEndsAtAnyTime(t *testing.T) {
	address := newBus(t)
	system := newLogind(t, address, false)
	for n := range 100 {
		v := watchOn(t, address)
		time.Sleep(time.Duration(n) * 50 * time.Microsecond)
		v.cancel()
		receive(t, v.done)
	}
	system.bus.Close() // it makes no more locks
	t.Logf("%d locks were given", len(system.locks))
	for len(system.locks) > 0 {
		(<-system.locks).awaitRelease(t)
	}
}

// TestWatchAgain checks that a logind that went away and came back is asked again.
func TestWatchAgain(t *testing.T) {
	address := newBus(t)
	system := newLogind(t, address, false)
	v := watchOn(t, address)
	locks := system.expectLocks(t)
	system.bus.Close()
	for _, l := range locks {
		l.awaitRelease(t)
	}
	system = newLogind(t, address, false)
	system.expectLocks(t)
	// Word that it came back may reach who has its locks already, and begins anew then.
	system.tellUntilHeard(t, v)
}

// tellUntilHeard tells that the machine is about to sleep, again and again until somebody listens.
func (f *logind) tellUntilHeard(t *testing.T, v *watched) {
	t.Helper()
	for told := false; !told; {
		f.tell(t, "PrepareForSleep", true)
		select {
		case e := <-v.events:
			if e != Suspend {
				t.Fatalf("got %s", e)
			}
			told = true
		case <-time.After(10 * time.Millisecond):
		}
	}
	v.proceed <- struct{}{}
}

// TestWatchDenied checks that events come where the system does not wait.
func TestWatchDenied(t *testing.T) {
	address := newBus(t)
	system := newLogind(t, address, true)
	system.tellUntilHeard(t, watchOn(t, address))
}

// TestLogindHere writes down what the logind of this machine tells, until it shuts down: see deploy/test.
func TestLogindHere(t *testing.T) {
	path := os.Getenv("GRID_EVENTS")
	if path == "" {
		t.Skip("SKIPPED: set GRID_EVENTS to a file, on a machine that may be shut down")
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(f, "watching")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = Watch(ctx, slog.New(slog.NewTextHandler(f, nil)), func(e Event) {
		fmt.Fprintln(f, e)
		if e == Shutdown {
			cancel()
		}
	})
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}
