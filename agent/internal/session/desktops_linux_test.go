package session

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
	"github.com/jezek/xgb/xtest"

	"idlegrid/agent/internal/harvest/signals"
	"idlegrid/agent/internal/harvest/signals/signalstest"
)

// screenSaverService is the screen saver of KDE and others.
type screenSaverService struct{ ms atomic.Uint32 }

// GetSessionIdleTime returns milliseconds.
func (s *screenSaverService) GetSessionIdleTime() (uint32, *dbus.Error) { return s.ms.Load(), nil }

// inhibitService is the power management of KDE and others.
type inhibitService struct{ kept atomic.Bool }

// HasInhibit reports whether a program keeps the screen on.
func (s *inhibitService) HasInhibit() (bool, *dbus.Error) { return s.kept.Load(), nil }

// export serves an object under a name until the test ends.
func export(t *testing.T, address, name, path, service string, object any) {
	t.Helper()
	c, err := dbus.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.Export(object, dbus.ObjectPath(path), service); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RequestName(name, dbus.NameFlagDoNotQueue); err != nil {
		t.Fatal(err)
	}
}

func TestScreenSaverIsAsked(t *testing.T) {
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	p := newPC(t)
	saver, inhibit := &screenSaverService{}, &inhibitService{}
	saver.ms.Store(3600_000)
	const name = "org.freedesktop.ScreenSaver"
	export(t, p.bus, name, "/org/freedesktop/ScreenSaver", name, saver)
	const power = "org.freedesktop.PowerManagement"
	export(t, p.bus, power, "/org/freedesktop/PowerManagement/Inhibit", power+".Inhibit", inhibit)
	p.help(t)
	p.await(t, "an hour without input", idle(time.Hour))
	p.await(t, "no presentation", func(o signals.Observation, _ time.Time) bool { return !o.Presenting.None && !o.Presenting.Value })
	inhibit.kept.Store(true)
	p.await(t, "a presentation", func(o signals.Observation, _ time.Time) bool { return o.Presenting.Value })
	saver.ms.Store(0)
	p.await(t, "input", used)
}

func TestDesktopThatTellsNothing(t *testing.T) {
	t.Setenv("DISPLAY", "")
	t.Setenv("WAYLAND_DISPLAY", "")
	t.Setenv("DBUS_SESSION_BUS_ADDRESS", signalstest.Bus(t))
	_, err := openDesktop(t.Context(), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "tells nobody of input") {
		t.Errorf("%v", err)
	}
}

// startX starts an X server that ends with the test, and makes it this test's display.
func startX(t *testing.T) {
	t.Helper()
	program, err := exec.LookPath("Xvfb")
	if err != nil {
		t.Skip("SKIPPED: no Xvfb here (Debian: apt install xvfb)")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(program, "-displayfd", "3", "-screen", "0", "320x200x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	number, err := io.ReadAll(r)
	if err != nil || len(bytes.TrimSpace(number)) == 0 {
		t.Fatalf("Xvfb says no display: %q, %v", number, err)
	}
	t.Setenv("DISPLAY", ":"+string(bytes.TrimSpace(number)))
	t.Setenv("WAYLAND_DISPLAY", "")
}

func TestX11(t *testing.T) {
	startX(t)
	p := newPC(t)
	x, err := xgb.NewConnDisplay(os.Getenv("DISPLAY"))
	if err != nil {
		t.Fatal(err)
	}
	defer x.Close()
	if err := xtest.Init(x); err != nil {
		t.Fatal(err)
	}
	p.help(t)
	p.await(t, "two seconds without input", idle(2*time.Second))
	root := xproto.Setup(x).DefaultScreen(x).Root
	if err := xtest.FakeInputChecked(x, xproto.MotionNotify, 0, 0, root, 10, 10, 0).Check(); err != nil {
		t.Fatal(err)
	}
	p.await(t, "input", used)

	p.await(t, "nothing that fills the screen", func(o signals.Observation, _ time.Time) bool { return !o.Presenting.None && !o.Presenting.Value })
	window, err := xproto.NewWindowId(x)
	if err != nil {
		t.Fatal(err)
	}
	if err := xproto.CreateWindowChecked(x, 0, window, root, 0, 0, 320, 200, 0, xproto.WindowClassInputOutput, 0, 0, nil).Check(); err != nil {
		t.Fatal(err)
	}
	// As a window manager says it.
	set := func(of xproto.Window, name string, kind xproto.Atom, value uint32) {
		t.Helper()
		err := xproto.ChangePropertyChecked(x, xproto.PropModeReplace, of, atom(t, x, name), kind, 32, 1,
			binary.LittleEndian.AppendUint32(nil, value)).Check()
		if err != nil {
			t.Fatal(err)
		}
	}
	set(window, "_NET_WM_STATE", xproto.AtomAtom, uint32(atom(t, x, "_NET_WM_STATE_FULLSCREEN")))
	set(root, "_NET_ACTIVE_WINDOW", xproto.AtomWindow, uint32(window))
	p.await(t, "a window that fills the screen", func(o signals.Observation, _ time.Time) bool { return o.Presenting.Value })
}

func atom(t *testing.T, x *xgb.Conn, name string) xproto.Atom {
	t.Helper()
	reply, err := xproto.InternAtom(x, false, uint16(len(name)), name).Reply()
	if err != nil {
		t.Fatal(err)
	}
	return reply.Atom
}

// compositor is as much of a Wayland compositor as tells of idleness.
type compositor struct {
	t     *testing.T
	conn  net.Conn
	ready chan struct{} // somebody asked to be told
	pure  bool          // by the request of version 2
}

// newCompositor is this test's display. It offers what is asked for, with a version.
func newCompositor(t *testing.T, version uint32) *compositor {
	t.Helper()
	dir, err := os.MkdirTemp("", "wl") // short: systems bound the paths of sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "wayland-9"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("WAYLAND_DISPLAY", "wayland-9")
	c := &compositor{t: t, ready: make(chan struct{})}
	go c.serve(l, version)
	return c
}

func (c *compositor) serve(l net.Listener, version uint32) {
	conn, err := l.Accept()
	if err != nil {
		return // the test has ended
	}
	c.conn = conn
	for {
		object, request, args, err := readWayland(conn)
		if err != nil {
			return
		}
		switch {
		case object == waylandDisplay && request == displayRegistry:
			c.offer(1, "wl_compositor", 4)
			c.offer(2, "wl_seat", 7)
			if version > 0 {
				c.offer(3, "ext_idle_notifier_v1", version)
			}
		case object == waylandDisplay && request == displaySync:
			c.event(waylandSync, syncDone, word(1))
		case object == waylandRegistry:
			if bytes.Contains(args, []byte("ext_idle")) && binary.NativeEndian.Uint32(args) != 3 {
				c.t.Errorf("bound %q", args)
			}
		case object == waylandNotifier:
			c.pure = request == notifierGetPure
			close(c.ready)
		}
	}
}

func (c *compositor) offer(name uint32, kind string, version uint32) {
	c.event(waylandRegistry, registryGlobal, word(name), text(kind), word(version))
}

// event sends what a compositor says; the form is that of requests.
func (c *compositor) event(object, event uint32, args ...[]byte) {
	if err := (&wayland{conn: c.conn}).send(object, event, args...); err != nil {
		c.t.Errorf("the compositor: %v", err)
	}
}

func TestWayland(t *testing.T) {
	for _, version := range []uint32{1, 2} {
		p := newPC(t)
		c := newCompositor(t, version)
		p.help(t)
		<-c.ready
		if c.pure != (version == 2) {
			t.Errorf("version %d: asked without inhibitors: %t", version, c.pure)
		}
		p.await(t, "a session in use", used)
		c.event(waylandNotification, idled)
		p.await(t, "a session at rest", idle(2*time.Second))
		c.event(waylandNotification, resumed)
		p.await(t, "input", used)
	}
}

func TestWaylandWithoutTheProtocol(t *testing.T) {
	newCompositor(t, 0)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := openWayland(ctx, nil); err == nil || !strings.Contains(err.Error(), "does not have it") {
		t.Errorf("%v", err)
	}
}

func TestWaylandThatEnds(t *testing.T) {
	c := newCompositor(t, 1)
	i, err := openWayland(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.close()
	<-c.ready
	c.conn.Close()
	<-i.input()
	if _, err := i.idle(t.Context()); !errors.Is(err, errEnded) {
		t.Errorf("%v", err)
	}
}

func FuzzWayland(f *testing.F) {
	f.Add(text("wl_seat"))
	f.Add(append(append(word(3), text("ext_idle_notifier_v1")...), word(2)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, kind, _, err := readGlobal(b); err == nil && len(kind) > len(b) {
			t.Errorf("%q of %q", kind, b)
		}
		if _, _, args, err := readWayland(bytes.NewReader(b)); err == nil && len(args)+waylandHeader > len(b) {
			t.Errorf("%q of %q", args, b)
		}
		w := &wayland{conn: discard{}, inputs: make(chan struct{}, 1), ready: make(chan error, 1)}
		globals := map[string][2]uint32{}
		for object := range uint32(waylandNotification + 1) {
			for event := range uint32(2) {
				_ = w.handle(object, event, b, globals) // it may refuse; it must not fall
			}
		}
		if len(globals) > 2 {
			t.Errorf("keeps %v", globals)
		}
	})
}

// discard is a connection to a compositor that nothing comes from.
type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error) { return len(b), nil }
